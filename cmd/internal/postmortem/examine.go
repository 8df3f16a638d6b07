package postmortem

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// What decides. They are shares.
const (
	// A quiet moment is one to hold the end against when at least this much of the
	// usage came after it.
	enoughGrowth = 0.10
	// A limit is too small when it was met although less than flatGrowth of it was
	// taken after the quiet moment, at which more than fullAlready of it was in use.
	flatGrowth  = 0.15
	fullAlready = 0.75
	// The heap was let grow, rather than held, when less than liveOfHeap of what the
	// heap grew by is alive.
	liveOfHeap = 1.0 / 3
	// A verdict is sure when what it names made most of the growth, and most of that
	// was seen.
	clearShare, fairShare   = 0.60, 0.40
	littleUnseen, halfSeen  = 0.20, 0.50
	latestLook, staleLook   = 2 * time.Second, 15 * time.Second
	startUp                 = 30 * time.Second
	mostPoints              = 400
	littleOf                = 0.02 // of the usage: growth by less is not worth a word
	mostCaptures, mostTasks = 64, 24
)

// An examination is the work on one piece of evidence.
type examination struct {
	e     *Evidence
	rec   *record.Recording
	view  *view.View
	ms    []moment
	last  *moment
	base  *moment
	quiet *Capture // the capture of the base, nil when there is none
	end   *Capture // the last capture before the kill with a heap profile
	limit float64  // 0 when there is none

	survival float64 // of what is allocated; NaN when not known
	total    float64 // at the last look
	was      float64 // at the quiet moment
	unseen   float64 // between the last look and the kill; NaN when not known
	unseenMy float64 // of that, the process's own
	grew     map[Memory]float64
	has      map[Memory]float64
	byShare  bool // the verdict goes by what there was, since there is no growth to go by

	r *Report
}

// Examine says what the evidence means. It never fails: where the evidence does not
// carry a verdict the report says so, and what is missing.
func Examine(e *Evidence) *Report {
	if e == nil {
		e = &Evidence{}
	}
	if e.Recording == nil {
		copied := *e
		copied.Recording = &record.Recording{}
		e = &copied
	}
	x := &examination{
		e: e, rec: e.Recording, view: view.New(e.Recording), survival: math.NaN(), unseen: math.NaN(), unseenMy: math.NaN(),
		grew: make(map[Memory]float64), has: make(map[Memory]float64),
		r: &Report{Schema: Schema, Process: e.Recording.Process, Killed: e.Kill != nil, Chain: []Link{}, Captures: []Shot{}, Alternatives: []Alternative{}, Unknown: []string{}, Course: Course{Points: []Moment{}, Shape: shapeUnknown}},
	}
	x.ms = moments(e)
	x.limit = limitOf(e, x.ms)
	if n := len(x.ms); n > 0 {
		x.last = &x.ms[n-1]
		x.base, x.quiet = x.pickBase()
	}
	x.end = x.lastCapture()
	x.compose()
	x.growth()
	x.course()
	x.facts()
	x.verdict()
	x.survive()
	x.chain()
	return x.r
}

// killed is when the kernel killed, the zero time when it did not or that is not known.
func (x *examination) killed() time.Time {
	if x.e.Kill == nil {
		return time.Time{}
	}
	return x.e.Kill.Time
}

// beforeKill is how long before the kill an instant was.
func (x *examination) beforeKill(t time.Time) *float64 {
	k := x.killed()
	if k.IsZero() || t.IsZero() {
		return nil
	}
	s := k.Sub(t).Seconds()
	return &s
}

// pickBase is what the end is held against: the last quiet capture after which
// something grew, else the first heap profile, else the first look.
func (x *examination) pickBase() (*moment, *Capture) {
	total, _, _ := x.last.total()
	fits := func(m *moment) bool {
		v, _, ok := m.total()
		return ok && m != x.last && total-v >= enoughGrowth*total
	}
	var oldest *Capture
	for i := len(x.e.Captures) - 1; i >= 0; i-- {
		c := &x.e.Captures[i]
		if c.Why != WhyQuiet || !x.before(c.Time) {
			continue
		}
		oldest = c
		if m := nearest(x.ms, c.Time); fits(m) {
			return m, c
		}
	}
	if oldest != nil {
		return nearest(x.ms, oldest.Time), oldest
	}
	if len(x.ms) < 2 {
		return nil, nil
	}
	// Without a quiet moment, the first look. The first heap profile belongs to it when
	// not much came between the two.
	first := &x.ms[0]
	for i := range x.rec.Profiles {
		if p := &x.rec.Profiles[i]; p.Kind == record.ProfileHeap {
			was, _, _ := first.total()
			if m := nearest(x.ms, p.Time); m != x.last {
				if then, _, ok := m.total(); ok && then-was <= 0.25*(total-was) {
					return first, &Capture{Time: p.Time, Why: "first"}
				}
			}
			break
		}
	}
	return first, nil
}

// before reports whether an instant is before the kill, as far as that is known.
func (x *examination) before(t time.Time) bool {
	k := x.killed()
	return k.IsZero() || !t.After(k.Add(clocks))
}

// lastCapture is the last capture that a heap profile belongs to.
func (x *examination) lastCapture() *Capture {
	for i := len(x.e.Captures) - 1; i >= 0; i-- {
		c := &x.e.Captures[i]
		if p, _ := heapAt(x.rec, c.Time, profileNear); p != nil && x.before(c.Time) {
			return c
		}
	}
	for i := len(x.rec.Profiles) - 1; i >= 0; i-- {
		if p := &x.rec.Profiles[i]; p.Kind == record.ProfileHeap && x.before(p.Time) {
			return &Capture{Time: p.Time, Why: "last"}
		}
	}
	return nil
}

func (x *examination) compose() {
	if x.last == nil {
		return
	}
	from := time.Time{}
	if x.base != nil {
		from = x.base.s.Time
	}
	x.survival = survivalOf(x.rec, from, x.last.s.Time.Add(time.Second))
	total, of, _ := x.last.total()
	c := &Composition{Time: x.last.s.Time, BeforeKill: x.beforeKill(x.last.s.Time), Of: of, TotalBytes: int64(total), LimitBytes: bytesOf(x.limit), Rows: x.last.rows(x.survival)}
	x.total, x.was = total, math.NaN()
	if known(x.survival) {
		c.SurvivalRate = &x.survival
	}
	for _, r := range c.Rows {
		x.has[r.Memory] += float64(r.Bytes)
	}
	if x.base != nil && x.base != x.last {
		if was, wasOf, ok := x.base.total(); ok && wasOf == of {
			x.was = was
			c.WasTime, c.WasBytes = &x.base.s.Time, bytesOf(was)
			x.setWas(c)
		}
	}
	if k := x.e.Kill; k != nil {
		at := float64(k.UsageBytes)
		if at == 0 || at > maxBytes {
			at = x.limit
		}
		if at > 0 && of == "cgroup" {
			x.unseen = max(0, at-total)
			c.UnseenBytes = bytesOf(x.unseen)
		}
		if anon, ok := x.last.anon(); ok && k.AnonRSSBytes > 0 && k.AnonRSSBytes <= maxBytes && !x.otherPID() {
			x.unseenMy = float64(k.AnonRSSBytes) - anon
			own := int64(x.unseenMy)
			c.UnseenOwn = &own
		}
	}
	x.r.Composition = c
}

// setWas gives each row what it was at the quiet moment, and adds those that are no more.
func (x *examination) setWas(c *Composition) {
	before := x.base.rows(x.survival)
	for i := range c.Rows {
		r := &c.Rows[i]
		was := int64(0)
		for _, b := range before {
			if b.Memory == r.Memory && b.Name == r.Name {
				was += b.Bytes
			}
		}
		r.Was = &was
	}
	for _, b := range before {
		if !slices.ContainsFunc(c.Rows, func(r Row) bool { return r.Memory == b.Memory && r.Name == b.Name }) {
			was := b.Bytes
			c.Rows = append(c.Rows, Row{Memory: b.Memory, Name: b.Name, Was: &was, How: b.How})
		}
	}
	for i := range c.Rows {
		x.grew[c.Rows[i].Memory] += float64(c.Rows[i].Grew())
	}
}

func bytesOf(v float64) *int64 {
	if !(v > 0 && v <= maxBytes) {
		return nil
	}
	n := int64(v)
	return &n
}

func (x *examination) otherPID() bool {
	k := x.e.Kill
	return k != nil && k.PID != 0 && x.rec.Process.PID != 0 && k.PID != x.rec.Process.PID
}

func (x *examination) growth() {
	if x.last == nil {
		return
	}
	g := &Growth{To: x.last.s.Time, Sites: []SiteGrowth{}, Goroutines: []GoroutineSite{}}
	var was, now, wasSince, nowSince *record.Profile
	if x.end != nil {
		now, nowSince = heapAt(x.rec, x.end.Time, profileNear)
		g.To = x.end.Time
	}
	if x.base != nil {
		g.From = x.base.s.Time
	}
	if x.quiet != nil {
		was, wasSince = heapAt(x.rec, x.quiet.Time, profileNear)
		g.From = x.quiet.Time
	}
	if was == now {
		was, wasSince = nil, nil
	}
	if now == nil && x.base == nil {
		return
	}
	g.Seconds = max(0, g.To.Sub(g.From).Seconds())
	if g.From.IsZero() {
		g.Seconds = 0
	}
	if now != nil {
		g.Profiled = was != nil
		g.Sites = grow(x.view, was, now, wasSince, nowSince, x.survival)
		for _, s := range g.Sites {
			g.InUseBytes += s.GrowthBytes
		}
	}
	var goWas, goNow *record.Goroutines
	goNow = goroutinesAt(x.rec, g.To, groupNear)
	if !g.From.IsZero() {
		goWas = goroutinesAt(x.rec, g.From, groupNear)
	}
	if list, total := growGoroutines(x.rec, goWas, goNow); total != nil {
		g.Goroutines, g.Total = append(g.Goroutines, list...), total
	}
	x.r.Growth = g
}

// trim leaves of the sites what is worth showing, once the verdict has been found.
func (g *Growth) trim(byAlloc bool) {
	if byAlloc {
		slices.SortStableFunc(g.Sites, func(a, b SiteGrowth) int { return cmp.Compare(b.AllocBytes, a.AllocBytes) })
	}
	kept := g.Sites[:0]
	for _, s := range g.Sites {
		if len(kept) < maxSites && (s.GrowthBytes > 0 || byAlloc && s.AllocBytes > 0) {
			kept = append(kept, s)
		} else {
			g.SitesLeft++
		}
	}
	g.Sites = kept
}

// The shapes of a course.
const (
	shapeSteady  = "steady"
	shapeSudden  = "sudden"
	shapeFlat    = "flat"
	shapeUneven  = "uneven"
	shapeUnknown = "unknown"
)

func (x *examination) course() {
	c := &x.r.Course
	points := x.points()
	step := max(1, (len(points)+mostPoints-1)/mostPoints)
	for i := range points {
		if i%step == 0 || i == len(points)-1 {
			c.Points = append(c.Points, points[i])
		}
	}
	if x.base == nil || x.last == x.base || math.IsNaN(x.was) {
		c.Text = "There is too little before the end to say how memory went."
		return
	}
	var pts []trend.Point
	for i := range points {
		if p := &points[i]; !p.Time.Before(x.base.s.Time) && !p.Time.After(x.last.s.Time) {
			if v := cmp.Or(p.Usage, p.RSS); v != nil {
				pts = append(pts, trend.Point{T: p.Time.Sub(x.base.s.Time).Seconds(), V: float64(*v)})
			}
		}
	}
	seconds := x.last.s.Time.Sub(x.base.s.Time).Seconds()
	if !(seconds > 0) {
		return
	}
	rate := (x.total - x.was) / seconds
	c.BytesPerSecond = &rate
	if f, ok := trend.Theil(pts); ok {
		rate, low, high := f.Slope, f.Low, f.High
		c.BytesPerSecond, c.Low, c.High = &rate, &low, &high
		switch {
		case x.total-x.was < enoughGrowth*x.total:
			c.Shape = shapeFlat
		case f.Steady() && f.Rising():
			c.Shape = shapeSteady
		case f.Shaped && f.Growth > 0 && f.LargestStep > 0.6:
			c.Shape = shapeSudden
		default:
			c.Shape = shapeUneven
		}
	}
	grew := rule.FormatBytes(x.total - x.was)
	over := rule.FormatSeconds(seconds)
	switch c.Shape {
	case shapeFlat:
		c.Text = fmt.Sprintf("Usage was nearly level: %s in %s.", grew, over)
	case shapeSteady:
		c.Text = fmt.Sprintf("Usage rose steadily by %s in %s, %s/s.", grew, over, rule.FormatBytes(*c.BytesPerSecond))
	case shapeSudden:
		c.Text = fmt.Sprintf("Usage rose by %s in %s, most of it at once.", grew, over)
	default:
		c.Text = fmt.Sprintf("Usage rose by %s in %s.", grew, over)
	}
}

// points are all looks in order of time: samples, and looks at the cgroup between them.
func (x *examination) points() []Moment {
	out := make([]Moment, 0, len(x.ms)+len(x.e.Groups))
	for i := range x.ms {
		out = append(out, x.ms[i].point())
	}
	for i := range x.e.Groups {
		g := &x.e.Groups[i]
		if k := x.killed(); len(x.ms) == 0 || x.r.Composition.Of != "cgroup" || g.Time.Before(x.ms[0].s.Time) || !k.IsZero() && g.Time.After(k.Add(clocks)) {
			continue
		}
		if v := bytesOf(float64(g.UsageBytes)); v != nil {
			out = append(out, Moment{Time: g.Time, Usage: v, Limit: bytesOf(float64(g.LimitBytes))})
		}
	}
	slices.SortStableFunc(out, func(a, b Moment) int { return a.Time.Compare(b.Time) })
	return out
}

func (m *moment) point() Moment {
	p := Moment{Time: m.s.Time}
	set := func(to **int64, f record.Field) {
		if v, ok := m.value(f); ok {
			n := int64(v)
			*to = &n
		}
	}
	set(&p.Usage, record.FieldCgroupUsageBytes)
	set(&p.RSS, record.FieldRSSBytes)
	set(&p.Live, record.FieldHeapLiveBytes)
	set(&p.Goal, record.FieldHeapGoalBytes)
	set(&p.Limit, record.FieldCgroupLimitBytes)
	set(&p.GoMem, record.FieldMappedReadyBytes)
	return p
}

// facts copies what is known of the kill, the group and the captures.
func (x *examination) facts() {
	r := x.r
	if k := x.e.Kill; k != nil {
		whole := func(v uint64) *int64 { return bytesOf(float64(v)) }
		r.Kill = &KillFacts{
			Time: k.Time, PID: k.PID, Name: k.Name, Known: append([]Source{}, k.Known...), Member: k.Member, OtherPID: x.otherPID(),
			Constraint: k.Constraint, OOMGroup: k.OOMGroup, TaskGroup: k.TaskGroup, InvokedBy: k.InvokedBy, GFP: k.GFP, Order: k.Order,
			AnonRSS: whole(k.AnonRSSBytes), FileRSS: whole(k.FileRSSBytes), ShmemRSS: whole(k.ShmemRSSBytes), PageTables: whole(k.PageTableBytes),
			ScoreAdj: k.OOMScoreAdj, Usage: whole(k.UsageBytes), Limit: whole(k.LimitBytes), FailCount: k.FailCount,
			Tasks: slices.Clone(k.Tasks), Text: append([]string{}, k.Text...),
		}
		slices.SortStableFunc(r.Kill.Tasks, func(a, b Task) int { return cmp.Compare(b.RSSBytes, a.RSSBytes) })
		r.Kill.Tasks = append([]Task{}, r.Kill.Tasks[:min(len(r.Kill.Tasks), mostTasks)]...)
	}
	if n := len(x.e.Groups); n > 0 {
		g := x.e.Groups[n-1]
		if x.last != nil && x.last.g != nil {
			g.Siblings, g.SiblingsLeftOut = x.last.g.Siblings, x.last.g.SiblingsLeftOut
		}
		g.Siblings = slices.DeleteFunc(slices.Clone(g.Siblings), func(s Sibling) bool { return s.PID == x.rec.Process.PID && s.PID != 0 })
		r.Group = &GroupFacts{Path: g.Path, LimitPath: g.LimitPath, Version: g.Version, LimitBytes: bytesOf(x.limit), UsageBytes: bytesOf(float64(g.UsageBytes)),
			Siblings: append([]Sibling{}, g.Siblings[:min(len(g.Siblings), mostTasks)]...), SiblingsLeftOut: g.SiblingsLeftOut + max(0, len(g.Siblings)-mostTasks)}
	}
	list := x.e.Captures
	if len(list) > mostCaptures { // the first is often the quiet one, the last ones are near the kill
		list = append(slices.Clone(list[:1]), list[len(list)-mostCaptures+1:]...)
	}
	for i := range list {
		c := &list[i]
		s := Shot{Time: c.Time, Why: c.Why, Took: max(0, c.Took).Seconds(), BeforeKill: x.beforeKill(c.Time), Kinds: append([]string{}, c.Kinds...), Failed: c.Failed, UsageBytes: bytesOf(float64(c.Bytes))}
		switch {
		case x.end != nil && c.Time.Equal(x.end.Time):
			s.Role = "last"
		case x.quiet != nil && c.Time.Equal(x.quiet.Time):
			s.Role = WhyQuiet
		}
		r.Captures = append(r.Captures, s)
	}
}

// chain is the way from the kernel's record to the verdict, in sentences.
func (x *examination) chain() {
	say := func(step, format string, a ...any) {
		x.r.Chain = append(x.r.Chain, Link{step, fmt.Sprintf(format, a...)})
	}
	if k := x.e.Kill; k != nil {
		say("kernel", "%s", x.kernelSentence(k))
	}
	if s := x.groupSentence(); s != "" {
		say("cgroup", "%s", s)
	}
	if c := x.r.Composition; c != nil {
		rows := slices.Clone(c.Rows)
		slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(b.Bytes, a.Bytes) })
		var parts []string
		for _, r := range rows {
			if r.Bytes > 0 && len(parts) < 3 {
				parts = append(parts, fmt.Sprintf("%s %s", rule.FormatBytes(float64(r.Bytes)), r.Name))
			}
		}
		when := "at the last look"
		if c.BeforeKill != nil && *c.BeforeKill >= 0 {
			when = rule.FormatSeconds(*c.BeforeKill) + " before the kill"
		}
		say("memory", "Of %s in use %s: %s.", rule.FormatBytes(float64(c.TotalBytes)), when, strings.Join(parts, ", "))
	}
	if x.r.Course.BytesPerSecond != nil {
		say("growth", "%s", x.r.Course.Text)
	}
	if s := x.r.Verdict.Site; s != nil {
		say("site", "%s: %s.", s, s.Text)
	}
	if t := x.r.Survival.Text; t != "" {
		say("settings", "%s", t)
	}
}

// sourceWords say how a kill is known.
var sourceWords = map[Source]string{
	FromKernelLog: "the kernel's log", FromContainer: "the container runtime's state", FromCounter: "the cgroup's count of kills",
	FromGroupEvent: "the cgroup's notification", FromExitStatus: "its exit status, 137", FromDisappeared: "its being gone while near its limit",
}

func (x *examination) kernelSentence(k *Kill) string {
	who := cmp.Or(k.Name, x.rec.Process.Name, "the process")
	if k.PID != 0 {
		who += fmt.Sprintf(" (%d)", k.PID)
	}
	text := "The kernel killed " + who
	if k.Member {
		text += " with its whole cgroup (memory.oom.group)"
	}
	if k.AnonRSSBytes > 0 {
		text += fmt.Sprintf(", which had %s of anonymous memory", rule.FormatBytes(float64(k.AnonRSSBytes)))
	}
	if k.InvokedBy != "" {
		text += "; " + k.InvokedBy + " had asked for more"
	}
	var from []string
	for _, s := range k.Known {
		if w := sourceWords[s]; w != "" {
			from = append(from, w)
		}
	}
	if len(from) > 0 {
		text += ". Known from " + strings.Join(from, " and ")
	}
	return text + "."
}

func (x *examination) groupSentence() string {
	k := x.e.Kill
	path := ""
	switch {
	case k != nil && k.OOMGroup != "":
		path = k.OOMGroup
	case len(x.e.Groups) > 0:
		g := x.e.Groups[len(x.e.Groups)-1]
		path = cmp.Or(g.LimitPath, g.Path)
	default:
		path = x.rec.Process.CgroupPath
	}
	switch {
	case k != nil && k.Constraint == constraintNone:
		return "It was the machine that had run out of memory, not a cgroup."
	case x.limit == 0 && path == "":
		return ""
	case x.limit == 0:
		return fmt.Sprintf("Cgroup %s: its limit is not known.", path)
	case path == "":
		return fmt.Sprintf("The limit is %s.", rule.FormatBytes(x.limit))
	}
	text := fmt.Sprintf("The limit of %s is %s", path, rule.FormatBytes(x.limit))
	if k != nil && k.TaskGroup != "" && k.TaskGroup != path {
		text += "; the process was in " + k.TaskGroup + " below it"
	}
	return text + "."
}
