package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	maxSessions = 256
	// A session ends so long after it was used, and so long after it began.
	sessionIdle = 8 * time.Hour
	sessionAge  = 24 * time.Hour
)

// A session is somebody who logged in with a token. It holds as long as the token does.
type session struct {
	role        Role
	token       [sha256.Size]byte
	began, used time.Time
}

// sessions are who is logged in, by the hash of their cookie: what is in memory lets
// nobody in.
type sessions struct {
	now func() time.Time

	mu  sync.Mutex
	all map[[sha256.Size]byte]session
}

// begin makes a session, and returns its cookie. When there are too many, the one that
// was not used for the longest time ends.
func (s *sessions) begin(role Role, token [sha256.Size]byte) string {
	cookie := secret()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]session{}
	}
	if len(s.all) >= maxSessions {
		var longest [sha256.Size]byte
		var at time.Time
		for k, v := range s.all {
			if v.over(now) {
				delete(s.all, k)
			} else if at.IsZero() || v.used.Before(at) {
				longest, at = k, v.used
			}
		}
		if len(s.all) >= maxSessions {
			delete(s.all, longest)
		}
	}
	s.all[sha256.Sum256([]byte(cookie))] = session{role, token, now, now}
	return cookie
}

func (s session) over(now time.Time) bool {
	return now.Sub(s.used) > sessionIdle || now.Sub(s.began) > sessionAge
}

// use returns the session of a cookie, and notes that it is used.
func (s *sessions) use(cookie string) (session, bool) {
	if cookie == "" || len(cookie) > 128 {
		return session{}, false
	}
	key := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.all[key]
	if !ok {
		return session{}, false
	}
	now := s.now()
	if v.over(now) {
		delete(s.all, key)
		return session{}, false
	}
	v.used = now
	s.all[key] = v
	return v, true
}

// peek returns the session of a cookie, without using it.
func (s *sessions) peek(cookie string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.all[sha256.Sum256([]byte(cookie))]
	return v, ok && !v.over(s.now())
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(cookie)))
}

func (s *sessions) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// secret returns 256 bits that nobody can guess.
func secret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: it crashes the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// sign derives from a key what belongs to a purpose and a subject.
func sign(key []byte, purpose, subject string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(purpose + "\x00" + subject))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
