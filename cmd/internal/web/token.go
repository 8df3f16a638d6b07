package web

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	minToken     = 16
	maxToken     = 512
	maxTokens    = 100
	maxTokenFile = 64 << 10
	// maxBearer bounds a header: what is longer is no token.
	maxBearer = 1 << 10
	// rereadAfter is how old what is known of a file may be, when somebody asks.
	rereadAfter = 2 * time.Second
)

// A token is one line of a file of tokens. The token itself is not kept.
type token struct {
	name string
	hash [sha256.Size]byte
}

// tokenFile is a file of tokens, as it is now.
type tokenFile struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu     sync.Mutex
	looked time.Time
	data   []byte
	failed string // what was logged last
	tokens []token
}

// openTokens reads a file for the first time, and wants it to be right. Later a file
// that cannot be read holds no token: taking it away locks everybody out.
func openTokens(path string, now func() time.Time, log *slog.Logger) (*tokenFile, error) {
	f := &tokenFile{path: path, now: now, log: log}
	data, mode, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("reading the token file: %w", err)
	}
	if f.tokens, err = parseTokens(data); err != nil {
		return nil, fmt.Errorf("reading the token file %s: %w", path, err)
	}
	if mode.Perm()&0o077 != 0 {
		log.Warn("other users of this machine may read the file of tokens", "file", path, "mode", mode.Perm().String(), "hint", "chmod 600 "+path)
	}
	f.data, f.looked = data, now()
	return f, nil
}

// byHash returns the token with a hash, or nil when there is none, or no longer. It
// takes the same time for every token of the file.
func (f *tokenFile) byHash(h [sha256.Size]byte) *token {
	var found *token
	for i, tokens := 0, f.current(); i < len(tokens); i++ {
		if subtle.ConstantTimeCompare(h[:], tokens[i].hash[:]) == 1 {
			found = &tokens[i]
		}
	}
	return found
}

func (f *tokenFile) current() []token {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if age := now.Sub(f.looked); age >= 0 && age < rereadAfter {
		return f.tokens
	}
	f.looked = now
	data, _, err := readSecret(f.path)
	if err == nil && f.failed == "" && bytes.Equal(data, f.data) {
		return f.tokens
	}
	var tokens []token
	if err == nil {
		tokens, err = parseTokens(data)
	}
	f.data, f.tokens = data, tokens
	if err != nil {
		if f.failed != err.Error() {
			f.log.Error("nobody is let in by token: the file cannot be read", "file", f.path, "error", err)
		}
		f.failed = err.Error()
		return nil
	}
	f.log.Info("the tokens were read again", "file", f.path, "tokens", len(tokens))
	f.failed = ""
	return f.tokens
}

// readSecret reads a small regular file.
func readSecret(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err == nil && len(data) > maxTokenFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxTokenFile)
	}
	return data, info.Mode(), err
}

// parseTokens reads lines of tokens, with a name before them or none; # begins a
// comment.
func parseTokens(data []byte) ([]token, error) {
	var tokens []token
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields) > 2 {
			return nil, fmt.Errorf("line %d has more than a name and a token", n)
		}
		secret, name := fields[len(fields)-1], ""
		if len(fields) == 2 {
			name = fields[0]
		}
		switch {
		case len(secret) < minToken:
			return nil, fmt.Errorf("the token in line %d has fewer than %d bytes: make one with `openssl rand -hex 32`", n, minToken)
		case len(secret) > maxToken:
			return nil, fmt.Errorf("the token in line %d has more than %d bytes", n, maxToken)
		case !plain(secret):
			return nil, fmt.Errorf("the token in line %d has other than printable ASCII characters", n)
		case len(name) > 64 || !plain(name):
			return nil, fmt.Errorf("the name in line %d is longer than 64 bytes, or has other than printable ASCII characters", n)
		case len(tokens) == maxTokens:
			return nil, fmt.Errorf("there are more than %d tokens", maxTokens)
		}
		if name == "" {
			name = fmt.Sprintf("line %d", n)
		}
		tokens = append(tokens, token{name: name, hash: sha256.Sum256([]byte(secret))})
	}
	if len(tokens) == 0 {
		return nil, errors.New("there is no token in it: make one with `openssl rand -hex 32`")
	}
	return tokens, nil
}

func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// bearer returns what comes with an Authorization header, and false when there is
// none. RFC 6750.
func bearer(header string) (string, bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(rest), true
}
