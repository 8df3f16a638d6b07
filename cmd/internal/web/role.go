package web

import (
	"context"
	"fmt"
)

// A Role is what somebody may do.
type Role uint8

// The roles; each may do what the ones before it may.
const (
	None     Role = iota
	Reader        // may see everything, and have snapshots taken
	Operator      // may change processes, where that is enabled
)

func (r Role) String() string {
	switch r {
	case None:
		return "none"
	case Reader:
		return "reader"
	case Operator:
		return "operator"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// A visitor is who makes a request.
type visitor struct {
	role   Role
	name   string // for the audit log: "token grafana", "certificate CN", "local"
	csrf   string // the token that unsafe requests must bring; "" for none needed
	bearer bool   // it came with a header that no browser sends by itself
	// still reports whether the role holds; it is asked as long as a stream lasts.
	still func() bool
}

type visitorKey struct{}

func visitorOf(ctx context.Context) *visitor {
	v, _ := ctx.Value(visitorKey{}).(*visitor)
	if v == nil {
		return &visitor{}
	}
	return v
}

// RoleOf returns what the one who makes the request of ctx may do.
func RoleOf(ctx context.Context) Role { return visitorOf(ctx).role }

// WhoOf returns a name of the one who makes the request of ctx, for logs.
func WhoOf(ctx context.Context) string { return visitorOf(ctx).name }

// CSRFHeader is the header in which unsafe requests bring the token of CSRFOf.
const CSRFHeader = "X-Heapwright-Csrf"

// CSRFOf returns the token that unsafe requests of this visitor must bring, "" when
// none is asked for.
func CSRFOf(ctx context.Context) string { return visitorOf(ctx).csrf }

// WithRole returns a context of a request by somebody with a role, for tests of
// handlers that this package serves.
func WithRole(ctx context.Context, r Role) context.Context {
	return context.WithValue(ctx, visitorKey{}, &visitor{role: r, name: "test", still: func() bool { return true }})
}
