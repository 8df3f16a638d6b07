package shed

import (
	"net/http"
	"slices"
	"strings"
)

// ClassByPrefix returns a function for HandlerOptions.Class that classifies by
// path. A prefix covers itself and what is below it: "/api" covers /api and
// /api/x, but not /apis; "/" covers everything. The longest that covers the path
// counts; without one the class is Normal. A path with empty, "." or ".." elements
// is Normal too: a router may see another path in it.
func ClassByPrefix(classes map[string]Class) func(*http.Request) Class {
	type rule struct {
		prefix string
		class  Class
	}
	var rules []rule
	for p, c := range classes {
		rules = append(rules, rule{strings.TrimSuffix(p, "/"), c})
	}
	slices.SortFunc(rules, func(a, b rule) int { return len(b.prefix) - len(a.prefix) })
	return func(r *http.Request) Class {
		path := r.URL.Path
		if strings.Contains(path, "//") || dotted(path) {
			return Normal
		}
		for _, rule := range rules {
			if rest, ok := strings.CutPrefix(path, rule.prefix); ok && (rest == "" || rest[0] == '/') {
				return rule.class
			}
		}
		return Normal
	}
}

// dotted reports whether one of the path's elements is "." or "..".
func dotted(path string) bool {
	for {
		i := strings.Index(path, "/.")
		if i < 0 {
			return false
		}
		path = path[i+2:]
		rest := strings.TrimPrefix(path, ".")
		if rest == "" || rest[0] == '/' {
			return true
		}
	}
}

// ClassByMethod returns a function for HandlerOptions.Class that classifies by
// method; Normal when it is not listed.
func ClassByMethod(classes map[string]Class) func(*http.Request) Class {
	return func(r *http.Request) Class { return classes[r.Method] }
}

// ClassByHeader returns a function for HandlerOptions.Class that classifies by the
// value of a header; Normal when it is missing or not listed. Who may send that
// header chooses his own class: use it behind a proxy that sets or removes it, or
// list only classes below Normal.
func ClassByHeader(name string, classes map[string]Class) func(*http.Request) Class {
	name = http.CanonicalHeaderKey(name)
	return func(r *http.Request) Class {
		values := r.Header[name]
		if len(values) != 1 {
			return Normal
		}
		return classes[values[0]]
	}
}
