package memlimit

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The variables of the environment.
const (
	envLimit  = "HEAPWRIGHT_MEMORY_LIMIT"
	envSwitch = "HEAPWRIGHT_MEMLIMIT"
)

// A candidate is a limit that can be meant.
type candidate struct {
	source Source // "": there is none
	path   string
	bytes  uint64
	look   int // its index in looks, -1: of an earlier look
}

// A found is the limit that counts, and how it was found.
type found struct {
	source Source // SourceNone: there is none
	path   string
	bytes  uint64
	looks  []Look
	bad    []Look // of looks, those that somebody got wrong
	failed string // a look that failed, in whose place an earlier one counts

	said   candidate // by the Config or the environment
	kernel candidate // the cgroups'
	group  groupLook
	host   uint64
}

// find looks for the limit. What somebody said comes first, in the order of the
// sources; but where a cgroup has less, the kernel will kill for less, and that
// counts. Where a look fails that did not fail before, what was there before counts:
// a file that cannot be read is no reason to lift a limit.
func find(sys *system, conf *Config, earlier *found) found {
	f := found{source: SourceNone, host: sys.host()}
	said := func(l Look, bytes uint64, limited bool, err error) {
		switch {
		case err == nil && f.said.source != "":
			l.Why = "an earlier one counts"
		case err == nil:
			if err = check(bytes, limited, f.host); err == nil {
				f.said = candidate{l.Source, l.Where, bytes, len(f.looks)}
			}
		}
		if err != nil {
			l.Why = err.Error()
			if limited && bytes < minLimit { // not so "max", nor as much as the host has: that is no mistake
				f.bad = append(f.bad, l)
			}
		}
		f.looks = append(f.looks, l)
	}
	if conf.Bytes > 0 {
		said(Look{Source: SourceConfig, Where: "Config.Bytes", Found: fmt.Sprint(conf.Bytes)}, conf.Bytes, true, nil)
	}
	file := func(source Source, where, name string) {
		l := Look{Source: source, Where: where, Found: "nothing"}
		text, err := sys.readFile(name)
		var v uint64
		limited := true
		if err != nil {
			err = fmt.Errorf("reading the memory limit: %w", err)
		} else {
			l.Found = quote(string(text))
			v, limited, err = parseQuantity(string(text))
		}
		if err != nil && f.said.source == "" && earlier.said.source == source {
			f.failed, f.said, f.said.look = where+": "+err.Error(), earlier.said, -1
		}
		said(l, v, limited || err != nil, err)
	}
	if conf.File != "" {
		file(SourceFile, conf.File, conf.File)
	}
	switch v := sys.getenv(envLimit); {
	case v == "":
		f.looks = append(f.looks, Look{Source: SourceEnvironment, Where: envLimit, Found: "not set"})
	case strings.HasPrefix(v, "@"):
		file(SourceEnvironment, envLimit+" ("+v[1:]+")", filepath.Clean(v[1:]))
	default:
		n, limited, err := parseQuantity(v)
		said(Look{Source: SourceEnvironment, Where: envLimit, Found: quote(v)}, n, limited || err != nil, err)
	}

	f.group = sys.group()
	for _, l := range f.group.looks {
		if l.Source == SourceCgroupHigh == f.group.high && l.Where == f.group.path && f.group.limited {
			if err := check(f.group.limit, true, f.host); err == nil {
				f.kernel = candidate{l.Source, l.Where, f.group.limit, len(f.looks)}
			} else if l.Why = err.Error(); f.group.limit < minLimit {
				f.bad = append(f.bad, l)
			}
		}
		f.looks = append(f.looks, l)
	}
	if f.group.err != nil && !f.group.limited && earlier.kernel.source != "" {
		f.failed, f.kernel, f.kernel.look = f.group.err.Error(), earlier.kernel, -1
	}

	note := func(c candidate, taken bool, why string) {
		if c.source != "" && c.look >= 0 {
			f.looks[c.look].Taken, f.looks[c.look].Why = taken, why
		}
	}
	c := f.kernel
	if f.said.source != "" && (c.source == "" || f.said.bytes < c.bytes) {
		c = f.said
		note(f.kernel, false, "more than what was said")
	} else {
		note(f.said, false, "the kernel allows less, or as much")
	}
	note(c, true, "")
	if c.source != "" {
		f.source, f.path, f.bytes = c.source, c.path, c.bytes
	}
	return f
}

// quote shows what a file or variable has, in a line.
func quote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return fmt.Sprintf("%q", s)
}
