package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/scrape"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

const (
	// traceWindow is how long a program is traced where the user does not say.
	traceWindow = 5 * time.Second
	// maxTrace is how long a trace of a program that runs may be: it has to be on
	// disk before it is read, lest the program keeps in memory what we are slow to
	// take.
	maxTrace = 4 << 30
)

// A tracedFrom is where a trace comes from.
type tracedFrom struct {
	Kind string `json:"kind"` // file, url, pid
	Name string `json:"name"` // the file, or the URL without its password
	PID  int    `json:"pid,omitempty"`
}

// A traceDocument is the document of diagnose --trace --json.
type traceDocument struct {
	*exectrace.Report
	From tracedFrom `json:"from"`
}

func (o diagnoseOptions) checkTrace(args arguments) error {
	const name = "diagnose"
	switch {
	case len(args.targets) > 0 || len(args.command) > 0:
		return usagef(name, "--trace names what to look at: there is no other argument")
	case o.stored.url != "":
		return usagef(name, "--trace and --store are two things to look at")
	case o.life != 0 || o.hz != 0:
		return usagef(name, "--life and --hz are of recordings, not of traces")
	case o.over < 0:
		return usagef(name, "--for must not be negative")
	}
	return oneOf(name, "fail-on", o.failOn, failOnNames)
}

// diagnoseTrace says what GC did in an execution trace.
func diagnoseTrace(ctx context.Context, env Env, opt diagnoseOptions, args arguments) error {
	if err := opt.checkTrace(args); err != nil {
		return err
	}
	file, from, err := openTrace(ctx, env, opt)
	if err != nil {
		return err
	}
	defer file.Close()
	var size int64
	if st, err := file.Stat(); err == nil {
		size = st.Size()
	}
	progress := env.progress()
	if from.Kind != "file" {
		// An interrupt has ended the tracing, and what there is of the trace is read; the
		// second ends us.
		ctx = context.WithoutCancel(ctx)
	}
	report, err := exectrace.Read(ctx, file, exectrace.Options{Progress: func(n int64) {
		if progress.Active() && n > 1<<20 {
			line := "reading the trace  " + compactBytes(float64(n))
			if size > 0 {
				line += " of " + compactBytes(float64(size)) + " " + term.Bar(float64(n), float64(size), 8)
			}
			progress.Show(line)
		}
	}})
	progress.Clear()
	var cut *exectrace.CutError
	if err != nil && !errors.As(err, &cut) {
		return err
	}
	if cut != nil && report.Trace.Events == 0 {
		return cut
	}
	doc := traceDocument{Report: report, From: from}
	if opt.html != "" {
		if err := writeTraceHTML(opt.html, &doc); err != nil {
			return err
		}
	}
	if opt.json {
		err = writeJSON(env.Stdout, doc)
	} else {
		err = doc.print(env)
	}
	if err != nil {
		return err
	}
	if threshold, err := diagnose.ParseSeverity(opt.failOn); err == nil { // else failNever
		if slices.ContainsFunc(report.Findings, func(f diagnose.Finding) bool { return f.Severity >= threshold }) {
			return exitWith(ExitFinding)
		}
	}
	if cut != nil {
		return &exitError{ExitInconclusive, cut}
	}
	if report.Inconclusive() {
		return exitWith(ExitInconclusive)
	}
	return nil
}

// openTrace opens a trace file, or has a program traced into one. Without -o that
// one has no name any more, and is gone with its descriptor.
func openTrace(ctx context.Context, env Env, opt diagnoseOptions) (*os.File, tracedFrom, error) {
	arg := opt.trace
	pid, notPID := strconv.Atoi(arg)
	switch {
	case notPID == nil && pid <= 0:
		return nil, tracedFrom{}, fmt.Errorf("%s is not a PID", arg)
	case notPID == nil:
		url, err := profilesOf(ctx, pid)
		if err != nil {
			return nil, tracedFrom{}, err
		}
		f, err := recordTrace(ctx, env, opt, url)
		return f, tracedFrom{Kind: "pid", Name: url, PID: pid}, err
	case strings.Contains(arg, "://"):
		f, err := recordTrace(ctx, env, opt, arg)
		return f, tracedFrom{Kind: "url", Name: redacted(arg)}, err
	}
	from := tracedFrom{Kind: "file", Name: arg}
	switch {
	case opt.over != 0:
		return nil, from, usagef("diagnose", "--for is how long a program is traced; %s is a trace already", arg)
	case opt.keep != "":
		return nil, from, usagef("diagnose", "-o keeps the trace of a program; %s is a file already", arg)
	}
	f, err := os.Open(arg)
	return f, from, err
}

// redacted is a URL without what may be a password.
func redacted(rawURL string) string {
	scheme, rest, _ := strings.Cut(rawURL, "://")
	host, path, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndexByte(host, '@')+1:]
	path, _, _ = strings.Cut(path, "?")
	if slash {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// recordTrace has a program trace itself, and keeps the trace in a file.
func recordTrace(ctx context.Context, env Env, opt diagnoseOptions, url string) (*os.File, error) {
	client, err := scrape.New(url, scrape.Limits{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	d := cmp.Or(opt.over, traceWindow)
	dir, name := "", ""
	if opt.keep != "" {
		dir, name = filepath.Split(opt.keep)
		dir = cmp.Or(dir, ".")
	}
	f, err := os.CreateTemp(dir, ".heapwright-trace-*")
	if err != nil {
		return nil, fmt.Errorf("keeping the trace: %w", err)
	}
	remove := true
	defer func() {
		if remove {
			os.Remove(f.Name())
		}
	}()
	if !client.Snapshot() {
		env.warnf("tracing %s for %s, which costs the program CPU while it lasts, the more the oftener it switches goroutines; how much is not measured", redacted(url), span(d))
	}
	n, err := client.WriteTrace(ctx, d, f, maxTrace)
	switch {
	case err == nil:
	case n == 0:
		f.Close()
		return nil, err
	case ctx.Err() != nil:
		env.warnf("interrupted: this is the trace up to then")
	default:
		env.warnf("the trace is cut short: %v", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, fmt.Errorf("keeping the trace: %w", err)
	}
	if name != "" {
		if err := os.Rename(f.Name(), opt.keep); err != nil {
			f.Close()
			return nil, fmt.Errorf("keeping the trace: %w", err)
		}
		remove = false
	}
	return f, nil
}

// profilesOf finds the URL at which a process serves its profiles. It asks each
// socket on which the process listens, at an address of this machine, for the
// process's command line, which must be that of this one.
func profilesOf(ctx context.Context, pid int) (string, error) {
	const advice = "give the URL of its /debug/pprof, or a trace file"
	l, err := goproc.Listening(pid)
	if err != nil {
		return "", err
	}
	if l.Elsewhere {
		return "", hinted(fmt.Errorf("process %d is in another network namespace: its addresses mean nothing here", pid), advice+" by an address that this side reaches")
	}
	if len(l.Addresses) == 0 {
		return "", hinted(fmt.Errorf("process %d listens on no TCP port: there is no way to ask it for a trace", pid),
			"it has to import net/http/pprof and serve it; or let it write a trace with runtime/trace, and give that file")
	}
	argv, err := goproc.CommandLine(pid)
	if err != nil {
		return "", err
	}
	var asked []string
	for _, a := range localFirst(l.Addresses) {
		url := "http://" + a.String() + "/"
		asked = append(asked, a.String())
		client, err := scrape.New(url, scrape.Limits{})
		if err != nil {
			return "", err
		}
		got, err := client.CommandLine(ctx)
		client.Close()
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err == nil && slices.Equal(got, argv) {
			return url, nil
		}
	}
	return "", hinted(fmt.Errorf("process %d serves no /debug/pprof by plain http at %s", pid, strings.Join(asked, ", ")), "%s", advice)
}

// localFirst are addresses to connect to: those of the loopback first, and it for
// those that mean all.
func localFirst(all []netip.AddrPort) []netip.AddrPort {
	var loop, rest []netip.AddrPort
	for _, a := range all {
		switch ip := a.Addr(); {
		case ip.IsUnspecified() && ip.Is4():
			a = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
		case ip.IsUnspecified(): // both families, most often
			loop = append(loop, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()))
			a = netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
		}
		if a.Addr().IsLoopback() {
			loop = append(loop, a)
		} else {
			rest = append(rest, a)
		}
	}
	return append(loop, rest...)
}
