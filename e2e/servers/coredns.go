package servers

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// CoreDNS is the CoreDNS server, answering for a zone file, with its cache.
var CoreDNS = Server{
	Name: "coredns",
	Recipe: Recipe{
		Name:    "coredns",
		Package: "github.com/coredns/coredns",
		Module:  "github.com/coredns/coredns",
		Version: "v1.14.7",
	},
	configure: func(dir string, port func() int) (config, error) { return configureCoreDNS(dir, port, 500) },
}

// configureCoreDNS has it serve a zone with so many hosts.
func configureCoreDNS(dir string, port func() int, hosts int64) (config, error) {
	dns, health, prof := port(), port(), port()
	var zone strings.Builder
	zone.WriteString("$ORIGIN example.test.\n$TTL 60\n@ IN SOA ns.example.test. admin.example.test. 1 7200 3600 1209600 60\n@ IN NS ns\nns IN A 127.0.0.1\n")
	for h := range hosts {
		fmt.Fprintf(&zone, "host%d IN A 10.%d.%d.%d\n", h, h/62500, h/250%250, h%250+1)
	}
	zoneFile := filepath.Join(dir, "example.test.zone")
	if err := os.WriteFile(zoneFile, []byte(zone.String()), 0o644); err != nil {
		return config{}, err
	}
	corefile := fmt.Sprintf(".:%d {\n bind 127.0.0.1\n errors\n health %s\n pprof %s\n cache 30\n file %s example.test\n}\n",
		dns, local(health), local(prof), zoneFile)
	conf := filepath.Join(dir, "Corefile")
	if err := os.WriteFile(conf, []byte(corefile), 0o644); err != nil {
		return config{}, err
	}
	return config{
		args:  []string{"-conf", conf},
		ready: httpReady("http://" + local(health) + "/health"),
		pprof: "http://" + local(prof) + "/debug/pprof",
		load:  func(ctx context.Context, opt Load) (Stats, error) { return loadCoreDNS(ctx, local(dns), hosts, opt) },
	}, nil
}

// loadCoreDNS asks over UDP for the addresses of the zone's hosts, and every
// eighth time for a name that does not exist.
func loadCoreDNS(ctx context.Context, addr string, hosts int64, opt Load) (Stats, error) {
	return drive(ctx, opt, 4, func(w int) (func(context.Context, int64) error, func(), error) {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			return nil, nil, err
		}
		buf := make([]byte, 4096)
		op := func(ctx context.Context, n int64) error {
			name, want := fmt.Sprintf("host%d.example.test.", n%hosts), dnsmessage.RCodeSuccess
			if n%8 == 7 {
				name, want = fmt.Sprintf("no%d.example.test.", n%hosts), dnsmessage.RCodeNameError
			}
			q := dnsmessage.Message{
				Header: dnsmessage.Header{ID: uint16(n), RecursionDesired: true},
				Questions: []dnsmessage.Question{{
					Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
				}},
			}
			b, err := q.Pack()
			if err != nil {
				return err
			}
			conn.SetDeadline(time.Now().Add(2 * time.Second))
			if _, err := conn.Write(b); err != nil {
				return err
			}
			for {
				size, err := conn.Read(buf)
				if err != nil {
					return err
				}
				var a dnsmessage.Message
				if err := a.Unpack(buf[:size]); err != nil {
					return err
				}
				if a.ID != uint16(n) {
					continue // the late answer to a question that timed out
				}
				if a.RCode != want {
					return fmt.Errorf("%s: %v, want %v", name, a.RCode, want)
				}
				return nil
			}
		}
		return op, func() { conn.Close() }, nil
	})
}
