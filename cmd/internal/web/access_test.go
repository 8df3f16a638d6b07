package web

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	with := TLS{CertFile: "c", KeyFile: "k"}
	for name, c := range map[string]struct {
		o      Options
		option string // that is wrong, "" for none
	}{
		"loopback":                   {Options{Listen: "127.0.0.1:0"}, ""},
		"loopback, v6":               {Options{Listen: "[::1]:80"}, ""},
		"loopback, mapped":           {Options{Listen: "[::ffff:127.0.0.1]:80"}, ""},
		"localhost":                  {Options{Listen: "LocalHost:80"}, ""},
		"no port":                    {Options{Listen: "127.0.0.1"}, "Listen"},
		"nothing":                    {Options{}, "Listen"},
		"all addresses":              {Options{Listen: ":80"}, "TLS"},
		"another address":            {Options{Listen: "192.0.2.1:80"}, "TLS"},
		"a name":                     {Options{Listen: "localhost.example.com:80"}, "TLS"},
		"below localhost":            {Options{Listen: "a.localhost:80"}, "TLS"}, // resolvers differ
		"TLS alone":                  {Options{Listen: ":80", TLS: with}, "ReaderTokenFile"},
		"a token alone":              {Options{Listen: ":80", ReaderTokenFile: "t"}, "TLS"},
		"TLS and a token":            {Options{Listen: ":80", TLS: with, ReaderTokenFile: "t"}, ""},
		"TLS and an operator":        {Options{Listen: ":80", TLS: with, OperatorTokenFile: "t"}, ""},
		"TLS and an authority":       {Options{Listen: ":80", TLS: TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "a"}}, ""},
		"half of TLS":                {Options{Listen: "127.0.0.1:0", TLS: TLS{CertFile: "c"}}, "TLS"},
		"the other half":             {Options{Listen: "127.0.0.1:0", TLS: TLS{KeyFile: "c"}}, "TLS"},
		"an authority alone":         {Options{Listen: "127.0.0.1:0", TLS: TLS{ClientCAFile: "a"}}, "TLS"},
		"changes, no log":            {Options{Listen: "127.0.0.1:0", AllowChanges: true}, "AuditFile"},
		"changes":                    {Options{Listen: "127.0.0.1:0", AllowChanges: true, AuditFile: "a"}, ""},
		"local operator":             {Options{Listen: "127.0.0.1:0", AllowChanges: true, AuditFile: "a", LoopbackOperator: true}, ""},
		"local operator, no changes": {Options{Listen: "127.0.0.1:0", LoopbackOperator: true}, "LoopbackOperator"},
		"local operator, elsewhere":  {Options{Listen: ":80", TLS: with, ReaderTokenFile: "t", AllowChanges: true, AuditFile: "a", LoopbackOperator: true}, "LoopbackOperator"},
		"local operator, a proxy":    {Options{Listen: "127.0.0.1:0", AllowChanges: true, AuditFile: "a", LoopbackOperator: true, ExternalURL: "https://a"}, "LoopbackOperator"},
		"an external URL":            {Options{Listen: "127.0.0.1:0", ExternalURL: "https://a.example/"}, ""},
		"no URL":                     {Options{Listen: "127.0.0.1:0", ExternalURL: "a.example"}, "ExternalURL"},
		"a URL with a path":          {Options{Listen: "127.0.0.1:0", ExternalURL: "https://a.example/heapwright"}, "ExternalURL"},
	} {
		err := Check(c.o)
		if c.option == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		bad := new(ConfigError)
		if !errors.As(err, &bad) || bad.Option != c.option || bad.Hint == "" || bad.Reason == "" {
			t.Errorf("%s: %v, want one about %s", name, err, c.option)
		}
	}
}

func TestHosts(t *testing.T) {
	cert := &x509.Certificate{DNSNames: []string{"in.example", "*.wild.example"}}
	for _, c := range []struct {
		host            string
		here, elsewhere bool // allowed on loopback, and where others reach it
	}{
		{"127.0.0.1", true, true}, {"127.0.0.1:80", true, true}, {"127.9.9.9", true, true}, {"[::1]:80", true, true}, {"[::1]", true, true},
		{"localhost", true, true}, {"localhost:1", true, true}, {"LOCALHOST.", true, true}, {"a.localhost:80", true, true},
		{"192.0.2.1", false, true}, {"192.0.2.1:80", false, true}, {"[2001:db8::1]:80", false, true},
		{"known.example", true, true}, {"KNOWN.example:443", true, true}, {"known.example.", true, true}, {"not.known.example", false, false},
		{"in.example", true, true}, {"a.wild.example:1", true, true}, {"a.b.wild.example", false, false},
		{"evil.example", false, false}, {"localhost.evil.example", false, false}, {"127.0.0.1.evil.example", false, false}, {"127.0.0.1.nip.io", false, false},
		{"", false, false}, {":80", false, false}, {".", false, false}, {"[", false, false}, {"a b", false, false}, {"0x7f.1", false, false}, {"2130706433", false, false},
		{strings.Repeat("a", 300), false, false}, {"known.example\x00", false, false}, {"user@known.example", false, false},
	} {
		for _, local := range []bool{true, false} {
			n := names{local: local, known: []string{"known.example"}, cert: func() *x509.Certificate { return cert }}
			want := c.elsewhere
			if local {
				want = c.here
			}
			if got := n.allow(c.host); got != want {
				t.Errorf("%q, local %v: %v", c.host, local, got)
			}
		}
	}
	n := names{local: true, cert: func() *x509.Certificate { return nil }}
	if n.allow("in.example") {
		t.Error("without a certificate nothing is in it")
	}
}

func TestSameSite(t *testing.T) {
	const own = "http://localhost:80"
	for _, c := range []struct {
		name, method string
		page         bool
		header       map[string]string
		ok           bool
	}{
		{"curl", "GET", false, nil, true},
		{"curl posts", "POST", false, nil, true},
		{"own page", "GET", false, map[string]string{"Sec-Fetch-Site": "same-origin"}, true},
		{"own page posts", "POST", false, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": own}, true},
		{"typed", "GET", true, map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, true},
		{"another port", "GET", false, map[string]string{"Sec-Fetch-Site": "same-site"}, false},
		{"another site", "GET", false, map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
		{"another site posts", "POST", false, map[string]string{"Sec-Fetch-Site": "cross-site"}, false},
		{"a link", "GET", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, true},
		{"a link to the API", "GET", false, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, false},
		{"a frame", "GET", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, false},
		{"a form", "POST", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, false},
		{"a picture", "GET", true, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, false},
		{"an old browser, own page", "POST", false, map[string]string{"Origin": own}, true},
		{"an old browser, another", "POST", false, map[string]string{"Origin": "http://evil.example"}, false},
		{"an old browser, another port", "POST", false, map[string]string{"Origin": "http://localhost:81"}, false},
		{"an old browser, another scheme", "POST", false, map[string]string{"Origin": "https://localhost:80"}, false},
		{"no origin", "POST", false, map[string]string{"Origin": "null"}, false},
		{"own form", "POST", true, map[string]string{"Origin": "null", "Sec-Fetch-Site": "same-origin"}, true},
		{"a frame's form", "POST", true, map[string]string{"Origin": "null", "Sec-Fetch-Site": "cross-site"}, false},
		{"another's, who says it is ours", "POST", true, map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, false},
		{"nonsense", "POST", false, map[string]string{"Origin": "http://%zz"}, false},
		{"ours, by its other name", "POST", false, map[string]string{"Origin": "https://hw.example"}, true},
		{"a lie", "GET", false, map[string]string{"Sec-Fetch-Site": "Same-Origin"}, false},
	} {
		r := httptest.NewRequest(c.method, own+"/", nil)
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		if no := sameSite(r, []string{"https://hw.example"}, c.page); (no == nil) != c.ok {
			t.Errorf("%s: %+v", c.name, no)
		}
	}
}

func TestFailures(t *testing.T) {
	now := epoch
	f := &failures{now: func() time.Time { return now }}
	a := netip.MustParseAddr("192.0.2.1")
	for i := range failuresAtOnce {
		if w := f.wait(a); w != 0 {
			t.Fatalf("failure %d waits %v", i, w)
		}
		f.failed(a)
	}
	if w := f.wait(a); w != failureEvery {
		t.Fatalf("after %d failures it waits %v", failuresAtOnce, w)
	}
	if w := f.wait(netip.MustParseAddr("192.0.2.2")); w != 0 {
		t.Errorf("another waits %v", w)
	}
	now = now.Add(failureEvery)
	if w := f.wait(a); w != 0 {
		t.Errorf("later it waits %v", w)
	}
	now = now.Add(-time.Hour) // the clock is set back
	if w := f.wait(a); w > failureEvery {
		t.Errorf("with the clock set back it waits %v", w)
	}
	// One host has 64 bits of addresses.
	for i := range failuresAtOnce {
		f.failed(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1)))
	}
	if w := f.wait(netip.MustParseAddr("2001:db8::ffff:1")); w == 0 {
		t.Error("another address of the same host need not wait")
	}
	f.failed(netip.Addr{}) // none
	for i := range 3 * maxAddresses {
		f.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(f.budget); n > maxAddresses {
		t.Errorf("%d addresses are kept", n)
	}
}

func TestSessions(t *testing.T) {
	now := epoch
	s := &sessions{now: func() time.Time { return now }}
	hash := sha256.Sum256([]byte("x"))
	first := s.begin(Reader, hash)
	if v, ok := s.use(first); !ok || v.role != Reader || v.token != hash {
		t.Fatalf("a new session: %+v, %v", v, ok)
	}
	for _, wrong := range []string{"", "x", first + "x", strings.Repeat("a", 1<<20)} {
		if _, ok := s.use(wrong); ok {
			t.Errorf("%.20q is a session", wrong)
		}
	}
	for range 5 { // used now and then, it goes on until it is old
		now = now.Add(sessionIdle / 2)
		if _, ok := s.use(first); !ok {
			t.Fatalf("it ended after %v", now.Sub(epoch))
		}
	}
	now = epoch.Add(sessionAge + time.Second)
	if _, ok := s.use(first); ok {
		t.Error("it never ends")
	}
	idle := s.begin(Reader, hash)
	now = now.Add(sessionIdle + time.Second)
	if _, ok := s.peek(idle); ok {
		t.Error("it does not end when it is not used")
	}
	out := s.begin(Reader, hash)
	s.end(out)
	if _, ok := s.use(out); ok {
		t.Error("it does not end")
	}
	used := s.begin(Operator, hash)
	for range 3 * maxSessions {
		now = now.Add(time.Second)
		s.begin(Reader, hash)
		s.use(used)
	}
	if n := s.len(); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
	if _, ok := s.use(used); !ok {
		t.Error("the one that is used went")
	}
}

func TestParseTokens(t *testing.T) {
	good := strings.Repeat("k", minToken)
	for in, want := range map[string]string{
		good:                                   "line 1",
		"# comment\n\n" + good + "\n":          "line 3",
		"grafana " + good + "\r\n":             "grafana",
		"a " + good + "\nb\t" + good:           "a b",
		"":                                     "error",
		"# nothing":                            "error",
		"short":                                "error",
		"a b " + good:                          "error",
		strings.Repeat("k", maxToken+1):        "error",
		good + "\x01":                          "error",
		"ü " + good:                            "error",
		strings.Repeat("n", 65) + " " + good:   "error",
		strings.Repeat(good+"\n", maxTokens+1): "error",
		strings.TrimSpace(strings.Repeat(good+"\n", 2)): "line 1 line 2",
	} {
		tokens, err := parseTokens([]byte(in))
		var names []string
		for _, k := range tokens {
			names = append(names, k.name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = "error"
			if strings.Contains(err.Error(), good) {
				t.Errorf("%.40q: the error says the token: %v", in, err)
			}
		}
		if got != want {
			t.Errorf("%.40q: %s (%v), want %s", in, got, err, want)
		}
	}
}

func TestAcceptEncoding(t *testing.T) {
	for in, want := range map[string]bool{"": false, "gzip": true, "GZIP, br": true, "br, x-gzip": true, "gzip;q=0": false, "gzip; q=0.0, *": false, "*": true, "*;q=0": false, "br": false, "gzip;q=x": false, "identity, *;q=0.1": true} {
		if got := takesGzip([]string{in}); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestLocalPlaces(t *testing.T) {
	for in, want := range map[string]string{
		"/ui/process/a?from=now-1h#x": "/ui/process/a?from=now-1h#x",
		"/ui/":                        "/ui/",
		"":                            "/ui/", "/": "/ui/", "//evil.example": "/ui/", "/\\evil.example": "/ui/", "https://evil.example/ui/": "/ui/", "/ui/\\..": "/ui/", "javascript:alert(1)": "/ui/",
		"/ui//evil.example": "/ui/", "/login": "/ui/", "/ui/\r\nSet-Cookie: a=b": "/ui/", "\t//evil": "/ui/", "/ui/%0d%0a": "/ui/%0d%0a", "ui/": "/ui/", "http:/ui/": "/ui/", "http:ui/": "/ui/",
		"/ui/" + strings.Repeat("a", 4<<10): "/ui/",
	} {
		if got := local(in); !strings.EqualFold(got, want) {
			t.Errorf("%.60q: %q, want %q", in, got, want)
		}
	}
}

// TestTokenOfForms holds that what is unsafe needs a token, unless it comes with a
// header that no page of another site can send.
func TestTokenHolds(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	if tokenHolds(r, &visitor{}) || tokenHolds(r, &visitor{csrf: "x"}) || !tokenHolds(r, &visitor{bearer: true}) {
		t.Error("without a header")
	}
	r.Header.Set(CSRFHeader, "x")
	if !tokenHolds(r, &visitor{csrf: "x"}) || tokenHolds(r, &visitor{csrf: "y"}) || tokenHolds(r, &visitor{}) {
		t.Error("with a header")
	}
	if !safe(http.MethodHead) || safe("get") || safe("PROPFIND") || safe("") {
		t.Error("which methods change nothing")
	}
}
