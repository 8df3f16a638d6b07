package exectrace

import (
	"fmt"
	"slices"

	"golang.org/x/exp/trace"
)

// A task is one that was begun and has not ended. A goroutine works for the task of
// the innermost region that it is in, else for the last task that it began itself.
type task struct {
	id    trace.TaskID
	typ   *taskType
	begin trace.Time
	cost  cost
	by    map[*goroutine]struct{} // that work for it now: a server's only task may have all of them
}

type taskType struct {
	name   string
	n      int
	open   int
	wall   spread
	gc     spread
	cost   cost
	wallIn [512]float64 // ns of wall time and of GC by bucket of wall time
	gcIn   [512]float64
	worst  []Task
}

func (c *collector) taskBegin(e *trace.Event) error {
	t := e.Task()
	if c.tasks[t.ID] != nil {
		return nil
	}
	if len(c.tasks) >= maxTasks {
		return fmt.Errorf("more than %d tasks at a time", maxTasks)
	}
	k := c.taskTypes[t.Type]
	if k == nil {
		if len(c.taskTypes) >= maxTaskTypes {
			return nil
		}
		k = &taskType{name: t.Type}
		c.taskTypes[t.Type] = k
	}
	k.open++
	one := &task{id: t.ID, typ: k, begin: c.now}
	c.tasks[t.ID] = one
	if g := c.gs[e.Goroutine()]; g != nil && len(g.tasks) < maxNesting {
		g.tasks = append(g.tasks, one)
		c.choose(g)
	}
	return nil
}

func (c *collector) taskEnd(id trace.TaskID) {
	t := c.tasks[id]
	if t == nil {
		return // begun before the trace
	}
	delete(c.tasks, id)
	for g := range t.by {
		g.tasks = slices.DeleteFunc(g.tasks, func(o *task) bool { return o == t })
		for i, o := range g.regions {
			if o == t {
				g.regions[i] = nil
			}
		}
		c.choose(g)
	}
	k := t.typ
	k.open--
	k.n++
	wall, gc := int64(c.now-t.begin), t.cost.total()
	k.wall.add(wall)
	k.gc.add(gc)
	k.cost.add(t.cost)
	b := bucketOf(wall)
	k.wallIn[b] += float64(wall)
	k.gcIn[b] += float64(gc)
	k.worst = keep(k.worst, keptTasks, Task{ID: uint64(id), At: seconds(int64(t.begin - c.begin)), Wall: seconds(wall), Cost: t.cost.report()},
		func(t *Task) float64 { return t.Cost.Total() })
}

func (c *collector) regionBegin(id trace.GoID, of trace.TaskID) {
	if g := c.gs[id]; g != nil && len(g.regions) < maxNesting {
		g.regions = append(g.regions, c.tasks[of])
		c.choose(g)
	}
}

func (c *collector) regionEnd(id trace.GoID) {
	if g := c.gs[id]; g != nil && len(g.regions) > 0 {
		g.regions = g.regions[:len(g.regions)-1]
		c.choose(g)
	}
}

// choose finds what a goroutine works for now.
func (c *collector) choose(g *goroutine) {
	for _, t := range slices.Backward(g.regions) {
		if t != nil {
			c.work(g, t)
			return
		}
	}
	for _, t := range slices.Backward(g.tasks) {
		if c.tasks[t.id] == t {
			c.work(g, t)
			return
		}
	}
	g.tasks = nil
	c.work(g, nil)
}

// work has a goroutine work for a task, or for none.
func (c *collector) work(g *goroutine, t *task) {
	if g.task == t {
		return
	}
	c.settle(g)
	if old := g.task; old != nil {
		delete(old.by, g)
	}
	g.task = t
	if t != nil {
		if t.by == nil {
			t.by = map[*goroutine]struct{}{}
		}
		t.by[g] = struct{}{}
	}
}

// shares are GC's part of all tasks' time, and of the slowest hundredth's.
func (k *taskType) shares() (all, worst float64) {
	if k.n == 0 || k.wall.sum <= 0 {
		return 0, 0
	}
	need := max(float64(k.n)/100, 1)
	var wall, gc, n float64
	for i, in := range slices.Backward(k.wall.buckets[:]) {
		if in == 0 {
			continue
		}
		n += float64(in)
		wall += k.wallIn[i]
		gc += k.gcIn[i]
		if n >= need {
			break
		}
	}
	if wall > 0 {
		worst = gc / wall
	}
	return k.gc.sum / k.wall.sum, worst
}
