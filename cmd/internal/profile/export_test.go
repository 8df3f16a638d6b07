package profile

// WaitReasonNames is the release's own table, as it is in this package.
var WaitReasonNames = waitReasonNames
