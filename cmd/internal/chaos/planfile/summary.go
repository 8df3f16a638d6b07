package planfile

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A Summary is what a plan comes to before anything is done.
type Summary struct {
	Target string   // what it happens to
	Load   string   // "" where there is none
	Steps  []string // what will happen, in order
	// Shortest and Longest are how long it takes, when nothing ends it early: when
	// everything recovers at once, and when nothing does.
	Shortest, Longest time.Duration
	Risk              int    // of the riskiest fault; 0 where there is none
	Riskiest          string // its name
	Notes             []string
}

// risks says what a risk is, for people.
var risks = []string{"", "cannot end the target", "takes memory or CPU inside of the target", "takes memory or time around the target", "the kernel may kill the target for it"}

// RiskWord says what a risk is.
func RiskWord(risk int) string {
	if risk < 1 || risk >= len(risks) {
		return ""
	}
	return risks[risk]
}

// Summarize says what a plan comes to.
func Summarize(p *chaos.Plan) Summary {
	s := Summary{Target: target(&p.Target), Load: load(p)}
	s.Shortest, s.Longest = duration(p)
	s.Steps = append(s.Steps, fmt.Sprintf("before: the hypothesis, %s, is looked at for %v", count(len(p.Hypothesis), "criterion", "criteria"), p.Before))
	previous := chaos.KindInfo{}
	for i := range p.Faults {
		f := &p.Faults[i]
		k, _ := f.Kind.Info()
		s.Steps = append(s.Steps, step(f, k))
		if k.Risk > s.Risk {
			s.Risk, s.Riskiest = k.Risk, f.Name
		}
		if k.Risk < previous.Risk {
			s.Notes = append(s.Notes, fmt.Sprintf("%s (risk %d) comes after %s (risk %d): milder faults first say more, since the target may not live to see them", f.Name, k.Risk, p.Faults[i-1].Name, previous.Risk))
		}
		previous = k
		if f.AllowKill {
			s.Notes = append(s.Notes, fmt.Sprintf("%s may end in the kernel killing the target", f.Name))
		}
	}
	s.Steps = append(s.Steps, fmt.Sprintf("after each: up to %v until it is as it was, and up to %v until its memory is", p.Recovery.Within, p.Recovery.Memory))
	if p.Recovery.Watch > 0 {
		s.Steps = append(s.Steps, fmt.Sprintf("after all: looked for growth for %v", p.Recovery.Watch))
	}
	s.Notes = append(s.Notes, blind(p)...)
	return s
}

// steadyBefore is how long it takes to know the spread of a percentile that is of the last
// five seconds. Package judge takes a shorter look for one value.
const steadyBefore = 20 * time.Second

// blind says what will not be seen with a plan.
func blind(p *chaos.Plan) []string {
	var out []string
	t := &p.Target
	if p.Load == nil {
		out = append(out, "there is no load: errors and latency are not seen, and an idle program shows little")
	}
	if ofLatency := func(c chaos.Criterion) bool { return c.Metric == chaos.LatencyP99 && c.OfBaseline }; p.Before < steadyBefore && slices.ContainsFunc(slices.Concat(p.Hypothesis, p.Abort), ofLatency) {
		out = append(out, fmt.Sprintf("before is shorter than %v, which is no baseline of a 99th percentile: its bounds are twice as high", steadyBefore))
	}
	for _, f := range p.Faults {
		lasts, longest := f.Ramp+f.Hold, chaos.Criterion{}
		for _, c := range p.Hypothesis {
			if c.For > longest.For && !slices.Contains(c.Except, f.Kind) {
				longest = c
			}
		}
		if f.Kind != chaos.Freeze && lasts < longest.For {
			out = append(out, fmt.Sprintf("%s lasts %v, and %s has to be broken for %v to count: what is over with the fault does not", f.Name, lasts, longest.Metric, longest.For))
		}
	}
	if t.Ready == "" {
		out = append(out, "there is no readiness URL: whether it is ready is not seen")
	}
	if t.Start != nil && t.MemoryLimit == 0 {
		out = append(out, "the target has no memory limit of its own: headroom is that of whatever it runs in")
	}
	if t.Start == nil {
		out = append(out, "the target is a process that runs already: whoever uses it feels this")
	}
	return out
}

func target(t *chaos.Target) string {
	switch s := t.Start; {
	case s == nil && t.PID > 0:
		return fmt.Sprintf("process %d", t.PID)
	case s == nil && t.Name != "" && t.Container != "":
		return "the process " + t.Name + " in container " + t.Container
	case s == nil && t.Name != "":
		return "the process " + t.Name
	case s == nil:
		return "the process in container " + t.Container
	case len(s.Command) > 0:
		return "started: " + strings.Join(append(append([]string(nil), s.Command...), s.Args...), " ")
	case s.Package != "":
		return "built and started: " + s.Package
	case s.Git != nil:
		return "built and started: " + s.Git.Package + " of " + s.Git.Repository
	default:
		return "built and started: " + s.Source
	}
}

func load(p *chaos.Plan) string {
	l := p.Load
	switch {
	case l == nil:
		return ""
	case l.GRPC != nil:
		return fmt.Sprintf("%s of gRPC %s", formatAmount(chaos.CountPerSecond, float64(l.Rate)), l.GRPC.Method)
	case l.HTTP != nil:
		return fmt.Sprintf("%s, %s of HTTP request", formatAmount(chaos.CountPerSecond, float64(l.Rate)), count(len(l.HTTP.Requests), "kind", "kinds"))
	}
	return ""
}

func step(f *chaos.Fault, k chaos.KindInfo) string {
	level := formatLevel(k, f.Level)
	if f.Level.IsZero() && f.Every > 0 && f.Kind == chaos.ForcedGC {
		level = fmt.Sprintf("one each %v", f.Every)
	}
	if f.Level.Share {
		level += " of the " + k.Share
	}
	if f.Count > 0 {
		level += fmt.Sprintf(", %d in all", f.Count)
	}
	if k.Unit == chaos.Ratio {
		level += " of the connections"
	}
	if f.Direction == chaos.To || f.Direction == chaos.From {
		level += ", of " + map[string]string{chaos.To: "what the target sends", chaos.From: "what the dependency answers"}[f.Direction]
	}
	if f.Cut > 0 {
		level += fmt.Sprintf(" and %s of the connections cut", percent(float64(f.Cut)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s, risk %d): %s, to %s", f.Name, f.Kind, k.Risk, k.What, level)
	switch {
	case f.Until != nil:
		info, _ := f.Until.Metric.Info()
		fmt.Fprintf(&b, " at most, until %s is %s", f.Until.Metric, formatBound(info, false, &f.Until.Reaches))
	case f.Ramp > 0 && f.Steps > 0:
		fmt.Fprintf(&b, " in %s within %v", count(f.Steps, "step", "steps"), f.Ramp)
	case f.Ramp > 0:
		fmt.Fprintf(&b, " within %v", f.Ramp)
	}
	fmt.Fprintf(&b, ", held for %v", f.Hold)
	return b.String()
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// A closed loop waits so many times its ramp for its goal, and so long at least.
const (
	patience  = 3
	leastLoop = 90 * time.Second
)

// duration is how long a plan takes at least and at most.
func duration(p *chaos.Plan) (shortest, longest time.Duration) {
	shortest = p.Before + p.Recovery.Watch
	longest = shortest
	for i := range p.Faults {
		f := &p.Faults[i]
		shortest += f.Hold + max(p.Between, p.Recovery.Stable)
		ramp := f.Ramp
		if f.Until == nil {
			shortest += ramp
		} else {
			ramp = max(patience*ramp, leastLoop)
		}
		longest += ramp + f.Hold + max(p.Between, p.Recovery.Within, p.Recovery.Memory)
	}
	return shortest, longest
}
