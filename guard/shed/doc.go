// Package shed decides which requests a service takes on when it cannot serve all.
package shed
