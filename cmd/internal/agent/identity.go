package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A service is what stays the same when a process is started again: whose it is, which
// program, and what starts it. A container's ID is not in it, which changes.
type service struct {
	Name string `json:"name"`
	Main string `json:"main,omitempty"` // main package
	UID  int    `json:"uid"`
	Unit string `json:"unit,omitempty"` // of systemd
}

func serviceOf(p *record.Process) service {
	return service{Name: cleanName(p.Name), Main: clip(p.MainPackage, 200), UID: p.UID, Unit: UnitOf(p.CgroupPath)}
}

// UnitOf is the systemd service in a cgroup's path, "" where there is none. That of a user's
// whole session is none.
func UnitOf(cgroup string) string {
	for dir := cgroup; dir != "/" && dir != "." && dir != ""; dir = path.Dir(dir) {
		if u := path.Base(dir); strings.HasSuffix(u, ".service") && !strings.HasPrefix(u, "user@") {
			return clip(u, 200)
		}
	}
	return ""
}

// cleanName makes of a process's name, which may be anything, what is safe in a label, a
// URL and a terminal.
func cleanName(name string) string {
	const most = 64
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, clip(name, most))
	if strings.Trim(clean, "._") == "" {
		return "unnamed"
	}
	return clean
}

func clip(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// identities give processes their IDs: a service that is started again gets the ID that
// it had, and two at the same time get two.
type identities struct {
	slots map[string]*slot // by ID
}

type slot struct {
	Service service   `json:"service"`
	Used    time.Time `json:"used"`
	PID     int       `json:"pid"` // of its last process, with when that started
	Started time.Time `json:"started"`
	taken   bool
}

// maxIdentities bounds what is remembered: of more, those that were used longest ago are
// forgotten.
const maxIdentities = 10_000

func newIdentities() *identities { return &identities{slots: map[string]*slot{}} }

// take returns the ID of a process: the one that it had when the agent was restarted
// beside it, or the first that its service had and that is free, or the first that nobody
// had.
func (n *identities) take(p *record.Process, now time.Time) string {
	s := serviceOf(p)
	use := func(id string) string {
		n.slots[id] = &slot{Service: s, Used: now, PID: p.PID, Started: p.StartTime, taken: true}
		return id
	}
	var own, unused, foreign string
	for i := 1; unused == ""; i++ {
		id := s.Name
		if i > 1 {
			id = fmt.Sprintf("%s:%d", s.Name, i)
		}
		have := n.slots[id]
		switch {
		case have == nil:
			unused = id
		case have.taken:
		case have.Service != s:
			foreign = cmp.Or(foreign, id)
		case have.PID == p.PID && have.Started.Sub(p.StartTime).Abs() < sameStart:
			return use(id)
		default:
			own = cmp.Or(own, id)
		}
	}
	if own != "" {
		return use(own)
	}
	n.forget()
	if len(n.slots) >= maxIdentities && foreign != "" {
		return use(foreign)
	}
	return use(unused)
}

// sameStart is how far two reckonings of when a process started may lie apart.
const sameStart = 5 * time.Second

// release frees an ID, for the next process of the service.
func (n *identities) release(id string, now time.Time) {
	if s := n.slots[id]; s != nil {
		s.taken, s.Used = false, now
	}
}

func (n *identities) forget() {
	if len(n.slots) < maxIdentities {
		return
	}
	var ids []string
	for id, s := range n.slots {
		if !s.taken {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return n.slots[a].Used.Compare(n.slots[b].Used) })
	for _, id := range ids[:min(len(ids), maxIdentities/10)] {
		delete(n.slots, id)
	}
}

type identityFile struct {
	Schema     string         `json:"schema"`
	Identities []identityLine `json:"identities"`
}

type identityLine struct {
	ID string `json:"id"`
	slot
}

const identitySchema = "heapwright.identities/1"

// load reads what an earlier agent remembered. A file that is damaged is no reason not to
// start: its processes get IDs anew.
func (n *identities) load(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the names of processes: %w", err)
	}
	defer f.Close()
	var doc identityFile
	if err := json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&doc); err != nil || doc.Schema != identitySchema {
		return fmt.Errorf("reading the names of processes from %s: %w", file, cmp.Or(err, fmt.Errorf("schema %q", doc.Schema)))
	}
	for _, l := range doc.Identities {
		base, number, _ := strings.Cut(l.ID, ":")
		if base != l.Service.Name || base != cleanName(base) || strings.Trim(number, "0123456789") != "" || len(n.slots) >= maxIdentities {
			continue
		}
		n.slots[l.ID] = &l.slot
	}
	return nil
}

// save writes them beside the file, and then names them.
func (n *identities) save(file string) error {
	doc := identityFile{Schema: identitySchema}
	for id, s := range n.slots {
		doc.Identities = append(doc.Identities, identityLine{id, *s})
	}
	slices.SortFunc(doc.Identities, func(a, b identityLine) int { return strings.Compare(a.ID, b.ID) })
	text, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return fmt.Errorf("writing the names of processes: %w", err)
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the names of processes: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("writing the names of processes: %w", err)
	}
	return nil
}
