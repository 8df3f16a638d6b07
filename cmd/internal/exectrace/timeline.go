package exectrace

// A timeline adds up steps of equal length, which double when there are too many.
type timeline struct {
	width int64 // ns, 0 before the first
	steps []Step
}

const (
	firstWidth = 1 << 17 // ns, 0.13 ms
	maxSteps   = 1024
)

// add spreads what was in dt from at on, both in ns, over the steps that it covers.
func (l *timeline) add(at, dt int64, s Step) {
	if l.width == 0 {
		l.width = firstWidth
	}
	for (at+dt-1)/l.width >= maxSteps {
		l.double()
	}
	for left := dt; left > 0; {
		i := at / l.width
		n := min((i+1)*l.width-at, left)
		for int64(len(l.steps)) <= i {
			l.steps = append(l.steps, Step{})
		}
		part := float64(n) / float64(dt)
		l.steps[i].add(Step{Marking: s.Marking * part, Stopped: s.Stopped * part, Worker: s.Worker * part, Assist: s.Assist * part, Runnable: s.Runnable * part, Heap: s.Heap})
		at += n
		left -= n
	}
}

func (l *timeline) double() {
	l.width *= 2
	half := l.steps[:(len(l.steps)+1)/2]
	for i := range half {
		s := l.steps[2*i]
		if 2*i+1 < len(l.steps) {
			s.add(l.steps[2*i+1])
		}
		half[i] = s
	}
	l.steps = half
}

func (s *Step) add(o Step) {
	s.Marking += o.Marking
	s.Stopped += o.Stopped
	s.Worker += o.Worker
	s.Assist += o.Assist
	s.Runnable += o.Runnable
	s.Heap = max(s.Heap, o.Heap)
}
