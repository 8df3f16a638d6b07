package scrape

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// Profile reads a heap, block or mutex profile from /debug/pprof. How many
// samples a site rests on is not in it.
func (c *Client) Profile(ctx context.Context, kind record.ProfileKind) (*record.Profile, error) {
	b, p, err := c.profile(ctx, string(kind))
	if err != nil {
		return nil, err
	}
	r, err := convertProfile(p, kind)
	if err != nil {
		return nil, b.fail("", "", err)
	}
	return r, nil
}

// Goroutines reads the goroutine profile from /debug/pprof. It knows stacks and
// labels: status, wait reason and creation site are empty. The program stops
// the world for an instant to take it, whatever the number of goroutines.
func (c *Client) Goroutines(ctx context.Context) (*record.Goroutines, error) {
	b, p, err := c.profile(ctx, "goroutine")
	if err != nil {
		return nil, err
	}
	g, err := convertGoroutines(p, "goroutine")
	if err != nil {
		return nil, b.fail("", "", err)
	}
	return g, nil
}

// GoroutineLeaks reads /debug/pprof/goroutineleak, which programs of Go 1.27 and
// later serve: the goroutines that wait for what nothing can bring about any more.
// The program collects garbage to find them.
func (c *Client) GoroutineLeaks(ctx context.Context) (*record.Goroutines, error) {
	b, p, err := c.profile(ctx, "goroutineleak")
	if err != nil {
		return nil, err
	}
	g, err := convertGoroutines(p, "goroutineleak")
	if err != nil {
		return nil, b.fail("", "", err)
	}
	return g, nil
}

// GoroutineStates reads /debug/pprof/goroutine?debug=2: stacks with status, wait
// reason, wait time and creation site. The program stops the world while it
// prints them all, up to its limit of 64 MiB, which with many goroutines is
// long: ask before you do this to a service.
func (c *Client) GoroutineStates(ctx context.Context) (*record.Goroutines, error) {
	b, text, err := c.getProfile(ctx, "goroutine", "debug=2")
	if err != nil {
		return nil, err
	}
	g, err := parseGoroutines(string(text))
	if err != nil {
		return nil, b.fail("", "", err)
	}
	g.Time = time.Now()
	return g, nil
}

// getProfile reads one profile, expanded.
func (c *Client) getProfile(ctx context.Context, name, query string) (*body, []byte, error) {
	u := *c.pprof
	u.Path += name
	u.RawQuery = query
	b, err := c.get(ctx, &u, "*/*", c.limits.ProfileBytes, time.Minute)
	if err != nil {
		var e *Error
		if errors.As(err, &e) && strings.Contains(e.Reason, "404") {
			e.Hint = "the program has to import net/http/pprof and serve http.DefaultServeMux"
		}
		return nil, nil, err
	}
	defer b.close()
	if b.mediaType == "text/html" {
		return nil, nil, b.fail("it is a web page, not a profile", "", nil)
	}
	data, err := io.ReadAll(b)
	if err == nil {
		data, err = ungzip(data, c.limits.ProfileBytes)
	}
	if err != nil {
		return nil, nil, b.fail("", "", err)
	}
	return b, data, nil
}

func (c *Client) profile(ctx context.Context, name string) (*body, *profile.Profile, error) {
	b, data, err := c.getProfile(ctx, name, "")
	if err != nil {
		return nil, nil, err
	}
	p, err := parseProfile(data)
	if err != nil {
		return nil, nil, b.fail("parsing the profile", "", err)
	}
	return b, p, nil
}

// A profile with more than this is none that Go writes, and would take many
// times its size in memory.
const (
	maxProfileBytes   = 32 << 20
	maxProfileRecords = 1 << 20 // samples, locations, functions and strings
)

// parseProfile parses an expanded profile.
func parseProfile(data []byte) (*profile.Profile, error) {
	if len(data) > maxProfileBytes {
		return nil, fmt.Errorf("it is longer than %d MiB", maxProfileBytes>>20)
	}
	if n, ok := countRecords(data); !ok {
		return nil, errors.New("it is not in pprof's format")
	} else if n > maxProfileRecords {
		return nil, fmt.Errorf("it has more than %d records", maxProfileRecords)
	}
	p, err := profile.ParseUncompressed(data)
	if err != nil {
		return nil, err
	}
	if err := p.CheckValid(); err != nil {
		return nil, err
	}
	if p.TimeNanos == 0 {
		p.TimeNanos = time.Now().UnixNano()
	}
	return p, nil
}

// countRecords counts the fields of a protocol buffer, those of its fields not
// among them.
func countRecords(data []byte) (n int, ok bool) {
	for len(data) > 0 {
		tag, size := binary.Uvarint(data)
		if size <= 0 {
			return n, false
		}
		data = data[size:]
		n++
		skip := uint64(0)
		switch tag & 7 {
		case 0:
			if _, size = binary.Uvarint(data); size <= 0 {
				return n, false
			}
			skip = uint64(size)
		case 1:
			skip = 8
		case 2:
			length, size := binary.Uvarint(data)
			if size <= 0 || length > uint64(len(data)) {
				return n, false
			}
			skip = uint64(size) + length
		case 5:
			skip = 4
		default:
			return n, false
		}
		if skip > uint64(len(data)) {
			return n, false
		}
		data = data[skip:]
	}
	return n, true
}

// columns returns the indexes of the sample types in the profile.
func columns(p *profile.Profile, names ...string) ([]int, error) {
	indexes := make([]int, len(names))
	for i, name := range names {
		indexes[i] = slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == name })
		if indexes[i] < 0 {
			return nil, fmt.Errorf("the profile has no %s", name)
		}
	}
	return indexes, nil
}

// convertProfile makes a Profile of a pprof profile of that kind: one site for
// each distinct stack, the largest first.
func convertProfile(p *profile.Profile, kind record.ProfileKind) (*record.Profile, error) {
	names := []string{"contentions", "delay"}
	if kind == record.ProfileHeap {
		names = []string{"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"}
	}
	at, err := columns(p, names...)
	if err != nil {
		return nil, err
	}
	r := &record.Profile{Time: time.Unix(0, p.TimeNanos).UTC(), Kind: kind, Sites: []record.ProfileSite{}}
	if kind == record.ProfileHeap {
		r.PeriodBytes = p.Period
	}
	stacks := map[string]int{}
	for _, s := range p.Sample {
		stack := frames(s)
		key := stackKey(stack)
		i, ok := stacks[key]
		if !ok {
			i = len(r.Sites)
			stacks[key] = i
			r.Sites = append(r.Sites, record.ProfileSite{Stack: stack})
		}
		site := &r.Sites[i]
		if kind == record.ProfileHeap {
			site.AllocObjects += float64(s.Value[at[0]])
			site.AllocBytes += float64(s.Value[at[1]])
			site.InUseObjects += float64(s.Value[at[2]])
			site.InUseBytes += float64(s.Value[at[3]])
		} else {
			site.Contentions += float64(s.Value[at[0]])
			if d := site.Delay + time.Duration(s.Value[at[1]]); s.Value[at[1]] >= 0 && d >= site.Delay {
				site.Delay = d
			}
		}
	}
	slices.SortStableFunc(r.Sites, func(a, b record.ProfileSite) int {
		return cmp.Or(cmp.Compare(b.InUseBytes, a.InUseBytes), cmp.Compare(b.AllocBytes, a.AllocBytes), cmp.Compare(b.Delay, a.Delay))
	})
	return r, nil
}

// convertGoroutines makes Goroutines of a pprof profile.
func convertGoroutines(p *profile.Profile, kind string) (*record.Goroutines, error) {
	at, err := columns(p, kind)
	if err != nil {
		return nil, err
	}
	b := newGrouper()
	for _, s := range p.Sample {
		n := s.Value[at[0]]
		if n < 0 || n > maxGoroutines {
			return nil, fmt.Errorf("%d goroutines in one place", n)
		}
		g := record.GoroutineGroup{Count: int(n), Stack: frames(s)}
		for k, v := range s.Label {
			if g.Labels == nil {
				g.Labels = map[string]string{}
			}
			g.Labels[k] = strings.Join(v, ",")
		}
		b.add(g)
	}
	g := b.goroutines()
	g.Time = time.Unix(0, p.TimeNanos).UTC()
	return g, nil
}

// frames returns the functions of a sample, leaf first, inlined ones expanded.
func frames(s *profile.Sample) []record.Frame {
	var stack []record.Frame
	for _, l := range s.Location {
		if len(l.Line) == 0 {
			stack = append(stack, record.Frame{Func: fmt.Sprintf("%#x", l.Address)})
		}
		for _, line := range l.Line {
			f := record.Frame{Line: int(min(max(line.Line, 0), math.MaxInt32))}
			if line.Function != nil {
				f.Func, f.File = line.Function.Name, line.Function.Filename
			}
			stack = append(stack, f)
		}
	}
	return stack
}

func stackKey(stack []record.Frame) string {
	var b strings.Builder
	for _, f := range stack {
		fmt.Fprintf(&b, "%s\x00%s\x00%d\n", f.Func, f.File, f.Line)
	}
	return b.String()
}
