package api

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Error is why a request is not answered.
type Error struct {
	Status     int // of HTTP
	Text, Help string
	RetryAfter time.Duration // when to ask again, 0 for never
}

func (e *Error) Error() string { return e.Text }

// Hint says what to do next.
func (e *Error) Hint() string { return e.Help }

func failf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...)}
}

// hint adds advice.
func (e *Error) hint(format string, args ...any) *Error {
	e.Help = fmt.Sprintf(format, args...)
	return e
}

// What a request may ask for at most.
const (
	maxParameter = 4096                 // bytes of one value
	maxSpan      = 400 * 24 * time.Hour // between from and to
	maxPoints    = 2000
	maxProcessID = 128 // bytes
	maxKey       = 128 // bytes of the key of a snapshot
)

// A query takes the parameters of a request one by one, and keeps the first error.
type query struct {
	values url.Values
	now    time.Time
	err    *Error
}

// parseQuery checks that a request has only parameters that its endpoint knows, for
// one with a typo would get an answer to another question.
func parseQuery(r *http.Request, now time.Time, known ...string) *query {
	q := &query{now: now}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		q.fail("the query of the address cannot be read: %v", err)
	}
	q.values = values
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			e := failf(http.StatusBadRequest, "there is no parameter %.40q here", name)
			if len(known) > 0 {
				e.hint("the parameters are %s", strings.Join(known, ", "))
			}
			q.keep(e)
		case len(values[name]) > 1:
			q.fail("the parameter %s is given %d times", name, len(values[name]))
		case len(values[name][0]) > maxParameter:
			q.fail("the parameter %s is longer than %d bytes", name, maxParameter)
		}
	}
	return q
}

func (q *query) keep(e *Error) {
	if q.err == nil {
		q.err = e
	}
}

func (q *query) fail(format string, args ...any) {
	q.keep(failf(http.StatusBadRequest, format, args...))
}

// failure returns the first error, as an error that is nil when there was none.
func (q *query) failure() error {
	if q.err == nil {
		return nil
	}
	return q.err
}

func (q *query) has(name string) bool { return q.values.Get(name) != "" }

// text is a parameter as it is, "" when it is missing.
func (q *query) text(name string) string { return q.values.Get(name) }

// oneOf is a parameter that is one of some words, the first where it is missing.
func (q *query) oneOf(name string, words ...string) string {
	v := q.values.Get(name)
	if v == "" {
		return words[0]
	}
	if !slices.Contains(words, v) {
		q.fail("%s=%.40q is not one of %s", name, v, strings.Join(words, ", "))
		return words[0]
	}
	return v
}

// flag is a parameter that is 1 or true, or 0 or false.
func (q *query) flag(name string) bool {
	switch v := q.values.Get(name); v {
	case "1", "true":
		return true
	case "", "0", "false":
		return false
	default:
		q.fail("%s=%.40q is neither 1 nor 0", name, v)
		return false
	}
}

// count is a whole number from 1 to most.
func (q *query) count(name string, otherwise, most int) int {
	v := q.values.Get(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		q.fail("%s=%.40q is no number from 1 to %d", name, v, most)
		return otherwise
	}
	return n
}

// number is a positive number, 0 where it is missing.
func (q *query) number(name string) float64 {
	v := q.values.Get(name)
	if v == "" {
		return 0
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f > 0) || math.IsInf(f, 0) {
		q.fail("%s=%.40q is no number above 0", name, v)
		return 0
	}
	return f
}

// process is the ID of a process, which has to be given.
func (q *query) process() string {
	id := q.values.Get("process")
	if id == "" {
		q.keep(failf(http.StatusBadRequest, "the parameter process is missing").hint("it is the id of one of the processes that /processes lists"))
		return ""
	}
	return q.processOr(id)
}

// anyProcess is the ID of a process, "" for all.
func (q *query) anyProcess() string {
	if id := q.values.Get("process"); id != "" {
		return q.processOr(id)
	}
	return ""
}

func (q *query) processOr(id string) string {
	if err := checkProcessID(id); err != nil {
		q.keep(err)
		return ""
	}
	return id
}

// checkProcessID refuses what cannot be the ID of a process. IDs become parts of
// queries and of names of files.
func checkProcessID(id string) *Error {
	name, n, numbered := strings.Cut(id, ":")
	ok := name != "" && len(id) <= maxProcessID && strings.Trim(name, ".") != ""
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if numbered {
		_, err := strconv.ParseUint(n, 10, 32)
		ok = ok && err == nil
	}
	if !ok {
		return failf(http.StatusBadRequest, "%.40q is no id of a process", id).hint("/processes lists the ids")
	}
	return nil
}

// key is the key of a snapshot, "" where it is missing.
func (q *query) key(name string) string {
	v := q.values.Get(name)
	if v == "" {
		return ""
	}
	ok := len(v) <= maxKey && strings.Trim(v, ".") != ""
	for _, c := range []byte(v) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	}
	if !ok {
		q.keep(failf(http.StatusBadRequest, "%s=%.40q is no key of a snapshot", name, v).hint("/snapshots lists the keys"))
		return ""
	}
	return v
}

// span is the time from from to to, the last hour where they are missing.
func (q *query) span() (from, to time.Time) { return q.spanOr("now-1h") }

// spanOr is span with another beginning where there is none. An empty one is the
// beginning of time.
func (q *query) spanOr(start string) (from, to time.Time) {
	from, to = time.Unix(0, 0), q.now
	if v := q.values.Get("to"); v != "" {
		to = q.instant("to", v)
	}
	if v := q.values.Get("from"); v != "" {
		from = q.instant("from", v)
	} else if start != "" {
		from = q.instant("from", start)
		if q.values.Get("to") != "" && !from.Before(to) {
			from = to.Add(-time.Hour)
		}
	}
	if q.err != nil {
		return from, to
	}
	switch {
	case !from.Before(to):
		q.fail("from is not before to")
	case start != "" && to.Sub(from) > maxSpan:
		q.fail("from and to are more than %d days apart", maxSpan/(24*time.Hour))
	}
	return from, to
}

// instant reads a time: RFC 3339, Unix seconds, now, or now-1h.
func (q *query) instant(name, v string) time.Time {
	t, err := parseInstant(v, q.now)
	if err != nil {
		q.keep(failf(http.StatusBadRequest, "%s=%.40q is no time", name, v).hint("write 2026-01-02T15:04:05Z, Unix seconds, now, or now-1h30m (units s, m, h, d, w)"))
	}
	return t
}

// What times can be asked about: no store has others, and arithmetic with them
// overflows nothing.
var (
	earliest = time.Unix(0, 0)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

func parseInstant(v string, now time.Time) (time.Time, error) {
	var t time.Time
	if rest, relative := strings.CutPrefix(v, "now"); relative {
		d, err := parseOffset(rest)
		if err != nil {
			return now, err
		}
		t = now.Add(d)
	} else if seconds, err := strconv.ParseFloat(v, 64); err == nil && math.Abs(seconds) < 1<<33 {
		t = time.UnixMilli(int64(math.Round(seconds * 1000)))
	} else if t, err = time.Parse(time.RFC3339Nano, v); err != nil {
		return now, err
	}
	if t.Before(earliest) || t.After(latest) {
		return now, fmt.Errorf("%.40q lies outside of 1970 to 2200", v)
	}
	return t, nil
}

// parseOffset reads what follows now: nothing, or a sign and a duration, in which
// days and weeks may stand.
func parseOffset(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	sign := time.Duration(1)
	switch s[0] {
	case '-':
		sign = -1
	case '+', ' ': // a plus in an address is a space
	default:
		return 0, fmt.Errorf("%.40q does not begin with a sign", s)
	}
	rest := s[1:]
	if rest == "" {
		return 0, fmt.Errorf("%.40q has no duration", s)
	}
	var total time.Duration
	for rest != "" {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		v, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, err
		}
		rest = rest[n:]
		n = strings.IndexAny(rest, "0123456789.")
		if n < 0 {
			n = len(rest)
		}
		unit, ok := offsetUnits[rest[:n]]
		if v *= float64(unit); !ok || v > float64(10*365*24*time.Hour) {
			return 0, fmt.Errorf("%.40q is no duration", s)
		}
		if total += time.Duration(v); total > 10*365*24*time.Hour {
			return 0, fmt.Errorf("%.40q is too long", s)
		}
		rest = rest[n:]
	}
	return sign * total, nil
}

var offsetUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}
