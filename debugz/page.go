package debugz

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/memlimit"
)

var (
	//go:embed page/page.gohtml
	pageText string
	//go:embed page/page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Parse(pageText))
	// styleHash lets the browser apply this style sheet and no other.
	styleHash = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// maxPage is the most that the page weighs, in bytes.
const maxPage = 60 << 10

// A page is what the template shows. Texts in it are as they came: the template
// escapes them. Drawings are made here, of numbers and of texts of our own.
type page struct {
	Style      template.CSS
	Refresh    int
	Name       string
	PID        int
	Word       string
	Faults     *faultsPart
	Sub        string
	Problems   []string
	Tiles      []fact
	MemoryNote string
	Bar        template.HTML
	Parts      []part
	Settings   []settingRow
	LimitNotes []string
	Guard      *guardPart
	Signals    []signalCell
	SignalNote string

	Metrics     []metricRow
	MetricCount int
	MetricNote  string
	Build       []fact
	Time        string
	Change      string
}

type fact struct{ Name, Value string }

type part struct{ Class, Name, Value, Why string }

type settingRow struct{ Name, Value, SetBy, Why string }

type signalCell struct {
	Name, Value string
	Spark       template.HTML
	Range       string
}

type metricRow struct{ Name, Labels, Value string }

// A guardPart is what the page shows of a guard.
type guardPart struct {
	Tone, State, Since, Why string
	LadderNote              string
	Rungs                   []rungRow
	Objectives              []objectiveRow
	Admission               string
	Classes                 []classRow
	Transitions             []transitionRow
	TransitionNote          string
	Bundles                 []bundleRow
	BundleNote              string
}

type rungRow struct {
	N                                int
	Name, Note, Above, Below, Admits string
	Here                             bool
	Tone, Mark                       string
}

type objectiveRow struct {
	Name, Bound, Window, Now, Violations string
	Meter                                template.HTML
	Word, Tone                           string
}

type classRow struct{ Name, Share, Admitted, ByShare, ByCapacity string }

type transitionRow struct{ Time, What, Why string }

type bundleRow struct {
	Time, Reason, Note, Size string
	Files                    []fileLink
}

type fileLink struct{ Name, Link string }

// A budget is how much of what may be long is shown. What goes first is what the
// JSON has as well.
type budget struct {
	metrics, transitions, rungs, objectives, signals, bundles, problems, faults, text int
}

// budgets are tried until the page is small enough. The last one is, whatever there
// is to show: a test holds it with texts that are long and escape badly.
var budgets = []budget{
	{metrics: 120, transitions: 100, rungs: 64, objectives: 32, signals: 24, bundles: 20, problems: 8, faults: 16, text: 160},
	{metrics: 60, transitions: 60, rungs: 64, objectives: 32, signals: 24, bundles: 12, problems: 8, faults: 16, text: 120},
	{metrics: 20, transitions: 30, rungs: 40, objectives: 24, signals: 20, bundles: 8, problems: 6, faults: 16, text: 80},
	{metrics: 0, transitions: 12, rungs: 24, objectives: 12, signals: 16, bundles: 4, problems: 4, faults: 8, text: 48},
	{metrics: 0, transitions: 6, rungs: 12, objectives: 6, signals: 14, bundles: 2, problems: 2, faults: 4, text: 24},
}

// writePage renders the page, as much of it as fits.
func writePage(d *document, refresh bool) ([]byte, error) {
	var b bytes.Buffer
	for _, limits := range budgets {
		b.Reset()
		if err := pageTemplate.Execute(&b, pageOf(d, refresh, limits)); err != nil {
			return nil, fmt.Errorf("writing the page: %w", err)
		}
		if b.Len() <= maxPage {
			return b.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("writing the page: it takes %d bytes, more than %d; format=json has what would be on it", b.Len(), maxPage)
}

func pageOf(d *document, refresh bool, lim budget) *page {
	p := &page{
		Style: template.CSS(pageStyle), Name: cut(d.Process.Name, lim.text), PID: d.Process.PID,
		MetricCount: len(d.Metrics), Time: d.Time.UTC().Format("2006-01-02 15:04:05 UTC"),
		Change: "Nothing can be changed here.",
	}
	if refresh {
		p.Refresh = 5
	}
	if d.Change.Allowed {
		p.Change = "Settings may be changed by a POST to override, below this page."
	}
	if d.Faults != nil {
		p.Faults = faultsOf(d, lim)
		if !d.Change.Allowed {
			p.Change = "No setting can be changed here."
		}
		p.Change += " Faults may be started by a POST to faults, below this page."
	}
	for i, s := range d.Problems {
		if i < lim.problems {
			p.Problems = append(p.Problems, cut(s, lim.text))
		}
	}
	p.identity(d, lim)
	p.memory(d)
	p.settings(d, lim)
	p.signals(d, lim)
	if d.Guard != nil {
		p.Guard = guardOf(d, lim)
		p.Word = d.Guard.State.String()
	}
	if p.Faults != nil {
		p.Word = strings.TrimPrefix(p.Word+", under a fault", ", ")
	}
	for i, m := range d.Metrics {
		if i >= lim.metrics {
			p.MetricNote = fmt.Sprintf("The first %d; the JSON has all.", lim.metrics)
			break
		}
		p.Metrics = append(p.Metrics, metricRow{cut(m.Name, lim.text), labelText(m.Labels, lim.text), valueText(m.Value, m.Unit)})
	}
	return p
}

func (p *page) identity(d *document, lim budget) {
	c := &d.Process
	program := strings.TrimSpace(c.Module + " " + c.Version)
	if program == "" {
		program = c.Main
	}
	parts := []string{c.Go + " " + c.GOOS + "/" + c.GOARCH}
	if program != "" {
		parts = append(parts, program)
	}
	parts = append(parts, "up "+spanText(d.Time.Sub(c.StartTime)))
	p.Sub = cut(strings.Join(parts, " · "), 3*lim.text)
	revision := c.Revision
	if c.Modified {
		revision += ", with changes that are not committed"
	}
	for _, f := range []fact{
		{"Go", c.Go + " " + c.GOOS + "/" + c.GOARCH}, {"package", c.Main}, {"module", strings.TrimSpace(c.Module + " " + c.Version)},
		{"revision", revision}, {"Heapwright", c.Heapwright}, {"CPUs", strconv.Itoa(c.CPUs)}, {"started", c.StartTime.UTC().Format("2006-01-02 15:04:05 UTC")},
	} {
		if f.Value != "" {
			p.Build = append(p.Build, fact{f.Name, cut(f.Value, lim.text)})
		}
	}
}

// memory draws where the memory is, as parts of the limit or, without one, of what
// is used.
func (p *page) memory(d *document) {
	m := &d.Memory
	used := m.used()
	whole := max(used, 1)
	size := func(n uint64) string { return bytesText(float64(n)) }
	if m.LimitBytes != nil {
		whole = max(whole, *m.LimitBytes)
	}
	p.Parts = []part{
		{"live", "live heap", size(m.LiveBytes), "found alive by the last collection"},
		{"garbage", "allocated since, and garbage", size(m.GarbageBytes), "what the next collection looks at; gaps in spans too"},
		{"free", "free heap", size(m.FreeBytes), "kept for the heap to grow into; given back over time"},
		{"stacks", "stacks", size(m.StackBytes), "of goroutines"},
		{"other", "other of Go's", size(m.OtherGoBytes), "the collector's books, caches, profiles"},
	}
	amounts := []uint64{m.LiveBytes, m.GarbageBytes, m.FreeBytes, m.StackBytes, m.OtherGoBytes}
	if m.NonGoBytes != nil {
		p.Parts = append(p.Parts, part{"nongo", "not Go's", size(*m.NonGoBytes), "C, the kernel's for us, neighbours in the container"})
		amounts = append(amounts, *m.NonGoBytes)
	}
	if m.LimitBytes != nil {
		left := *m.LimitBytes - min(*m.LimitBytes, used)
		if m.ReserveBytes != nil {
			// The reserve is the last of the limit, so it lies at the end.
			reserve := min(*m.ReserveBytes, left)
			p.Parts = append(p.Parts, part{"left", "room", size(left - reserve), "below the reserve"}, part{"reserve", "reserve", size(*m.ReserveBytes), "left free by memlimit"})
			amounts = append(amounts, left-reserve, reserve)
		} else {
			p.Parts = append(p.Parts, part{"left", "room", size(left), "up to the limit"})
			amounts = append(amounts, left)
		}
		p.MemoryNote = fmt.Sprintf("%s of the limit of %s are in use: %s.", size(used), size(*m.LimitBytes), percentText(float64(used)/float64(max(1, *m.LimitBytes))))
	} else {
		p.MemoryNote = fmt.Sprintf("%s are in use. No memory limit is known here.", size(used))
	}
	if m.NonGoBytes == nil {
		p.MemoryNote += " What is not Go's has not been measured."
	}
	gomemlimit := int64(math.MaxInt64)
	gogc := int64(0)
	for _, s := range d.Settings {
		switch s.Name {
		case "GOMEMLIMIT":
			gomemlimit = s.Value
		case "GOGC":
			gogc = s.Value
		}
	}
	mark := math.NaN()
	if gomemlimit != math.MaxInt64 {
		nonGo := uint64(0)
		if m.NonGoBytes != nil {
			nonGo = *m.NonGoBytes
		}
		// GOMEMLIMIT is for Go's part, so the line stands where that would end.
		if mark = (float64(gomemlimit) + float64(nonGo)) / float64(whole); mark <= 1 {
			p.MemoryNote += " The line is where GOMEMLIMIT ends, with what is not Go's."
		}
	}
	p.Bar = barSVG(p.Parts, amounts, whole, mark, p.MemoryNote)

	limit := "none"
	if m.LimitBytes != nil {
		limit = size(*m.LimitBytes)
	}
	p.Tiles = []fact{{"memory limit", limit}, {"GOMEMLIMIT", limitText(gomemlimit)}, {"GOGC", gogcText(gogc)}, {"live heap", size(m.LiveBytes)}, {"heap goal", size(m.GoalBytes)}, {"GC cycles", strconv.FormatUint(m.Cycles, 10)}}
}

func (p *page) settings(d *document, lim budget) {
	for _, s := range d.Settings {
		value := strconv.FormatInt(s.Value, 10)
		switch s.Name {
		case "GOGC":
			value = gogcText(s.Value)
		case "GOMEMLIMIT":
			value = limitText(s.Value)
		}
		p.Settings = append(p.Settings, settingRow{s.Name, value, cut(s.SetBy, lim.text), cut(s.Why, 2*lim.text)})
	}
	l := d.Limit
	if l == nil {
		return
	}
	from := string(l.Source)
	if l.Path != "" {
		from += ", " + cut(l.Path, lim.text)
	}
	note := fmt.Sprintf("memlimit: %s. The limit is from: %s.", l.Mode, from)
	if l.NonGoWhy != "" {
		note += " Not Go's: " + cut(l.NonGoWhy, lim.text) + "."
	}
	if l.ReserveWhy != "" {
		note += " Reserve: " + cut(l.ReserveWhy, lim.text) + "."
	}
	p.LimitNotes = append(p.LimitNotes, note)
	if l.WouldSet != 0 {
		p.LimitNotes = append(p.LimitNotes, fmt.Sprintf("It would set GOMEMLIMIT to %s.", limitText(l.WouldSet)))
	}
	if l.Control != nil {
		p.LimitNotes = append(p.LimitNotes, "Its controller: "+cut(l.Control.Reason, 2*lim.text)+".")
	}
	if l.Error != "" {
		p.LimitNotes = append(p.LimitNotes, "It could not look: "+cut(l.Error, 2*lim.text)+".")
	}
	if l.Mode == memlimit.ModeOff || l.Mode == memlimit.ModeClosed {
		p.LimitNotes = append(p.LimitNotes, "It is off: nothing is kept right.")
	}
}

// signalNames are what the signals mean, in the order in which they are shown.
var signalNames = []struct{ name, text string }{
	{"memory_limit_used_ratio", "memory in use, of the limit"},
	{"memory_resident_ratio", "resident, of the limit"},
	{"gomemlimit_used_ratio", "in use, of GOMEMLIMIT"},
	{"memory_exhaustion_seconds", "memory is full in"},
	{"gc_cpu_ratio", "CPU that GC takes"},
	{"gc_assist_ratio", "of it, assists"},
	{"gc_pause_p99_seconds", "GC pause, 99th percentile"},
	{"stw_ratio", "time the world is stopped"},
	{"sched_latency_p99_seconds", "wait for a CPU, 99th percentile"},
	{"gc_limiter_on", "GC's CPU limited by Go"},
	{"goroutines", "goroutines"},
	{"psi_memory_some_ratio", "stalled for memory"},
	{"memory_limit_events", "memory refused, OOM kills"},
}

func (p *page) signals(d *document, lim budget) {
	rank := func(name string) int {
		i := slices.IndexFunc(signalNames, func(s struct{ name, text string }) bool { return s.name == name })
		if i < 0 {
			i = len(signalNames)
		}
		return i
	}
	all := slices.Clone(d.Signals)
	slices.SortStableFunc(all, func(a, b signalDoc) int { return rank(a.Name) - rank(b.Name) })
	left := max(0, len(all)-lim.signals)
	for _, s := range all[:len(all)-left] {
		c := signalCell{Name: cut(s.Name, lim.text), Value: signalText(s.Name, s.Value)}
		if i := rank(s.Name); i < len(signalNames) {
			c.Name = signalNames[i].text
		}
		for _, h := range d.History.Series {
			if h.Name == s.Name {
				low, high, n := extent(h.Values)
				if n > 1 {
					c.Spark = sparkSVG(d.History.Times, h.Values)
					c.Range = "always so"
					if low != high {
						c.Range = fmt.Sprintf("%s to %s", signalText(s.Name, low), signalText(s.Name, high))
					}
				}
			}
		}
		p.Signals = append(p.Signals, c)
	}
	p.SignalNote = fmt.Sprintf("Over the last %s.", spanText(time.Duration(d.Window*float64(time.Second))))
	if t := d.History.Times; len(t) > 1 {
		p.SignalNote += fmt.Sprintf(" The lines show the last %s, a point for each time that this page was asked for.", spanText(t[len(t)-1].Sub(t[0])))
	} else {
		p.SignalNote += " There will be lines when the page has been asked for again."
	}
	if left > 0 {
		p.SignalNote += fmt.Sprintf(" %d more are in the JSON.", left)
	}
}

// query makes a link to this page.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return "?" + v.Encode()
}

func labelText(labels map[string]string, n int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return cut(strings.Join(parts, ", "), n)
}
