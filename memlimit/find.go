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

// A found is the limit that counts, and how it was found.
type found struct {
	source Source // SourceNone: there is none
	path   string
	bytes  uint64
	looks  []Look
	bad    []Look // of looks, those that somebody got wrong
	failed string // a look that failed, so that there may be less than was found
	group  groupLook
	host   uint64
}

// find looks for the limit. What somebody said comes first, in the order of the
// sources; but where a cgroup has less, the kernel will kill for less, and that
// counts.
func find(sys *system, conf *Config) found {
	f := found{source: SourceNone, host: sys.host()}
	said := func(l Look, bytes uint64, limited bool, err error) {
		switch {
		case err == nil && f.source != SourceNone:
			l.Why = "an earlier one counts"
		case err == nil:
			if err = check(bytes, limited, f.host); err == nil {
				f.source, f.path, f.bytes = l.Source, l.Where, bytes
				l.Taken = true
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
		text, err := sys.readFile(name)
		l := Look{Source: source, Where: where, Found: "nothing"}
		if err != nil {
			f.failed = err.Error()
			said(l, 0, true, fmt.Errorf("reading the memory limit: %w", err))
			return
		}
		l.Found = quote(string(text))
		v, limited, err := parseQuantity(string(text))
		if err != nil {
			f.failed = where + ": " + err.Error()
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
	if f.group.err != nil && !f.group.limited {
		f.failed = f.group.err.Error()
	}
	taken := -1
	for _, l := range f.group.looks {
		if l.Source == SourceCgroupHigh == f.group.high && l.Where == f.group.path && f.group.limited {
			taken = len(f.looks)
		}
		f.looks = append(f.looks, l)
	}
	if !f.group.limited || taken < 0 {
		return f
	}
	l := &f.looks[taken]
	if err := check(f.group.limit, true, f.host); err != nil {
		l.Why = err.Error()
		if f.group.limit < minLimit {
			f.bad = append(f.bad, *l)
		}
		return f
	}
	if f.source != SourceNone && f.bytes < f.group.limit {
		l.Why = "more than what was said"
		return f
	}
	for i := range f.looks {
		if f.looks[i].Taken {
			f.looks[i].Taken = false
			f.looks[i].Why = "the kernel allows less, or as much"
		}
	}
	l.Taken = true
	f.source, f.path, f.bytes = l.Source, l.Where, f.group.limit
	return f
}

// since is f, after an earlier look: where this one failed in part, a limit that is
// not seen any more, or that is higher now, is not believed yet.
func (f *found) since(earlier *found) {
	if f.failed == "" || earlier.source == SourceNone || earlier.bytes == 0 || f.source != SourceNone && f.bytes <= earlier.bytes {
		return
	}
	f.source, f.path, f.bytes = earlier.source, earlier.path, earlier.bytes
	for i := range f.looks {
		f.looks[i].Taken = false
	}
}

// quote shows what a file or variable has, in a line.
func quote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return fmt.Sprintf("%q", s)
}
