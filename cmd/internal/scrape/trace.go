package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// WriteTrace copies an execution trace to w and returns its size. It is what
// /debug/pprof/trace records of the next d, for which the program is traced; or,
// where the URL names something that is neither metrics nor profiles, what lies
// there: the snapshot of a flight recorder, say. With a trace that is longer than
// limit the request ends, and so does the tracing; w has what came until then.
func (c *Client) WriteTrace(ctx context.Context, d time.Duration, w io.Writer, limit int64) (int64, error) {
	u := *c.metrics
	snapshot := c.Snapshot()
	if !snapshot {
		u = *c.pprof
		u.Path += "trace"
		u.RawQuery = url.Values{"seconds": {fmt.Sprintf("%g", d.Seconds())}}.Encode()
	}
	b, err := c.get(ctx, &u, "*/*", limit, d+time.Minute)
	if err != nil {
		var e *Error
		if errors.As(err, &e) {
			switch {
			case strings.Contains(e.Reason, "404"):
				e.Hint = "the program has to import net/http/pprof and serve http.DefaultServeMux"
			case strings.Contains(e.Reason, " 400 ") && !snapshot:
				e.Hint = "its server's WriteTimeout may be shorter than the trace: ask for fewer seconds"
			case strings.Contains(e.Reason, " 500 ") && !snapshot:
				e.Hint = "somebody else may be tracing the program: there can be one trace at a time"
			}
		}
		return 0, err
	}
	defer b.close()
	if b.mediaType == "text/html" {
		return 0, b.fail("it is a web page, not a trace", "", nil)
	}
	n, err := io.Copy(w, b)
	if err != nil {
		return n, b.fail("", "", err)
	}
	return n, nil
}

// Snapshot reports whether the URL names neither metrics nor profiles: then
// WriteTrace takes what lies there, and has nothing traced.
func (c *Client) Snapshot() bool {
	p := c.metrics.Path
	return p != "" && p != "/" && !strings.HasSuffix(p, "/metrics")
}

// CommandLine asks the program for its arguments (/debug/pprof/cmdline): the least
// that tells whether profiles are served there, and by whom.
func (c *Client) CommandLine(ctx context.Context) ([]string, error) {
	u := *c.pprof
	u.Path += "cmdline"
	const most = 2 << 20 // ARG_MAX of Linux
	b, err := c.get(ctx, &u, "*/*", most, 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.mediaType != "text/plain" {
		return nil, b.fail("it is no command line", "", nil)
	}
	text, err := io.ReadAll(b)
	if err != nil {
		return nil, b.fail("", "", err)
	}
	return strings.Split(string(text), "\x00"), nil
}
