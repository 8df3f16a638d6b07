package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LeafNode is a release of the NATS server that tries to join a hub as a leaf
// node, forty times over and once a second each, and is turned away: it has a wrong
// password. The hub is played by this package.
//
// v2.6.2 leaks by that, as its users found out (nats-server issue 2630, October
// 2021): the default time-out of such a TLS handshake was two billion seconds, so
// that a timer of time.AfterFunc kept the client and the connection of each attempt
// for 63 years (server/client.go, doTLSHandshake). v2.6.3 does not. More lines may be
// given for its configuration.
func LeafNode(version string, more ...string) Server {
	s := Server{Name: "nats-" + version, Recipe: NATS.Recipe}
	s.Recipe.Version = version
	s.configure = func(dir string, port func() int) (config, error) {
		client, monitor, prof := port(), port(), port()
		cert, err := certificate(filepath.Join(dir, "ca.pem"))
		if err != nil {
			return config{}, fmt.Errorf("making a certificate: %w", err)
		}
		hub, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return config{}, err
		}
		var remotes strings.Builder
		for i := range 40 {
			fmt.Fprintf(&remotes, "    { url: \"tls://leaf%d:wrong@%s\", tls { ca_file: %q } }\n", i, hub.Addr(), filepath.Join(dir, "ca.pem"))
		}
		text := fmt.Sprintf("listen: \"127.0.0.1:%d\"\nhttp: \"127.0.0.1:%d\"\nprof_port: %d\nleafnodes {\n  reconnect: 1\n  remotes: [\n%s  ]\n}\n",
			client, monitor, prof, remotes.String()) + strings.Join(more, "\n")
		conf := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return config{}, errors.Join(err, hub.Close())
		}
		go turnAway(hub, &tls.Config{Certificates: []tls.Certificate{cert}})
		return config{
			args:  []string{"--config", conf},
			ready: httpReady("http://" + local(monitor) + "/varz"),
			pprof: "http://" + local(prof) + "/debug/pprof",
			stop:  func() { hub.Close() },
			load: func(ctx context.Context, _ Load) (Stats, error) {
				<-ctx.Done() // it loads itself
				return Stats{Ops: 1}, nil
			},
		}, nil
	}
	return s
}

// turnAway is a hub that lets no leaf node in: it greets, makes the TLS handshake,
// reads who it is, and says no.
func turnAway(l net.Listener, conf *tls.Config) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			id := strings.Repeat("N", 56)
			if _, err := fmt.Fprintf(conn, "INFO {\"server_id\":%q,\"version\":\"2.6.1\",\"proto\":1,\"go\":\"go1.17\",\"host\":\"127.0.0.1\",\"port\":1,\"max_payload\":1048576,\"tls_required\":true,\"auth_required\":true,\"client_id\":7,\"leafnode_urls\":[%q]}\r\n", id, l.Addr()); err != nil {
				return
			}
			secure := tls.Server(conn, conf)
			buf := make([]byte, 4<<10)
			if _, err := secure.Read(buf); err != nil {
				return
			}
			io.WriteString(secure, "-ERR 'Authorization Violation'\r\n")
		}()
	}
}

// certificate makes one for 127.0.0.1, and writes what to trust for it to a file.
func certificate(ca string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(ca, text, 0o600)
}
