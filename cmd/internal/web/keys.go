package web

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// maxPEM bounds files of certificates and keys.
const maxPEM = 1 << 20

// keys are the server's certificate and the authorities of its clients, as the files
// have them now. Files that are no good leave those before in force.
type keys struct {
	files TLS
	now   func() time.Time
	log   *slog.Logger

	mu     sync.Mutex
	looked time.Time
	data   [3][]byte // of the certificate, the key and the authorities
	failed string
	cert   *tls.Certificate
	pool   *x509.CertPool // nil for none
}

func openKeys(files TLS, now func() time.Time, log *slog.Logger) (*keys, error) {
	k := &keys{files: files, now: now, log: log}
	data, err := k.read()
	if err != nil {
		return nil, err
	}
	if err := k.take(data); err != nil {
		return nil, err
	}
	if info, err := os.Stat(files.KeyFile); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("other users of this machine may read the key", "file", files.KeyFile, "mode", info.Mode().Perm().String(), "hint", "chmod 600 "+files.KeyFile)
	}
	k.looked = now()
	return k, nil
}

func (k *keys) read() (data [3][]byte, err error) {
	for i, name := range []string{k.files.CertFile, k.files.KeyFile, k.files.ClientCAFile} {
		if name == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return data, fmt.Errorf("reading TLS files: %w", err)
		}
		data[i], err = io.ReadAll(io.LimitReader(f, maxPEM+1))
		f.Close()
		if err == nil && len(data[i]) > maxPEM {
			err = fmt.Errorf("%s has more than %d bytes", name, maxPEM)
		}
		if err != nil {
			return data, fmt.Errorf("reading TLS files: %w", err)
		}
	}
	return data, nil
}

// take puts files into force, all of them or none. k.mu is held, or nobody else has k.
func (k *keys) take(data [3][]byte) error {
	cert, err := tls.X509KeyPair(data[0], data[1])
	if err != nil {
		return fmt.Errorf("reading the certificate %s and its key: %w", k.files.CertFile, err)
	}
	var pool *x509.CertPool
	if k.files.ClientCAFile != "" {
		if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(data[2]) {
			return fmt.Errorf("reading client authorities: %s has no certificate", k.files.ClientCAFile)
		}
	}
	k.data, k.cert, k.pool = data, &cert, pool
	return nil
}

func (k *keys) current() (*tls.Certificate, *x509.CertPool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if age := now.Sub(k.looked); age >= 0 && age < rereadAfter {
		return k.cert, k.pool
	}
	k.looked = now
	data, err := k.read()
	if err == nil && slices.EqualFunc(data[:], k.data[:], bytes.Equal) {
		return k.cert, k.pool
	}
	if err == nil {
		// A certificate and its key are two files: between the writes of them they do not fit.
		err = k.take(data)
	}
	if err != nil {
		if k.failed != err.Error() {
			k.log.Error("the TLS files as they are now are no good; those before stay in force", "error", err)
		}
		k.failed = err.Error()
		return k.cert, k.pool
	}
	k.failed = ""
	k.log.Info("the TLS files were read again", "certificate", k.files.CertFile, "until", k.cert.Leaf.NotAfter)
	return k.cert, k.pool
}

// leaf is the server's own certificate; of no keys, nil.
func (k *keys) leaf() *x509.Certificate {
	if k == nil {
		return nil
	}
	c, _ := k.current()
	return c.Leaf
}

// config is for the listener. Whether a client's certificate is needed is decided by
// request: the health of the server is no secret, and there may be tokens too.
func (k *keys) config() *tls.Config {
	of := func() *tls.Config {
		cert, pool := k.current()
		c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*cert},
			SessionTicketsDisabled: true} // a resumed session would not look at the authorities again
		if pool != nil {
			c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
		}
		return c
	}
	first := of()
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(), nil }
	return first
}

// client returns the certificate that a client proved to have. It is held against the
// authorities of now, since a connection may be older than they are.
func (k *keys) client(state *tls.ConnectionState) (*x509.Certificate, error) {
	if k == nil || state == nil || len(state.PeerCertificates) == 0 {
		return nil, nil
	}
	_, pool := k.current()
	if pool == nil {
		return nil, nil
	}
	leaf := state.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: k.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, fmt.Errorf("checking the client's certificate: %w", err)
	}
	return leaf, nil
}

// roleOf is what a client's certificate makes of its holder.
func (t TLS) roleOf(c *x509.Certificate) (Role, error) {
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return n != "" && (n == c.Subject.CommonName || slices.Contains(c.Subject.OrganizationalUnit, n))
		})
	}
	switch {
	case has(t.Operators):
		return Operator, nil
	case len(t.Readers) == 0 || has(t.Readers):
		return Reader, nil
	}
	return None, errors.New("the client's certificate is of nobody who may read here")
}

func fingerprint(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return string(h[:])
}
