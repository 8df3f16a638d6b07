package leak

import (
	"fmt"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
)

//go:generate go run ./mkdocs ../../../docs/LEAKS.md

// A Cause is an entry of the catalogue: what `heapwright explain` and docs/LEAKS.md
// say of a cause.
type Cause struct {
	ID    CauseID
	Title string
	What  string // what is the case
	Signs string // what it is known by
	// Remedy is what to do; its first sentence stands in a finding.
	Remedy string
	// Before and After are Go, wrong and right; "" where code says nothing.
	Before, After string
}

// short is the first sentence of the remedy.
func (c *Cause) short() string {
	s := strings.Join(strings.Fields(c.Remedy), " ")
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// Causes returns the catalogue. The caller must not change it.
func Causes() []Cause { return catalogue }

// Find returns the cause with an ID, in any case.
func Find(id string) (*Cause, bool) {
	for i := range catalogue {
		if strings.EqualFold(string(catalogue[i].ID), id) {
			return &catalogue[i], true
		}
	}
	return nil, false
}

// Suggest returns the ID that is nearest to what was meant; ok is false when none
// is near.
func Suggest(id string) (near CauseID, ok bool) {
	const most, longest = 3, 64
	if id == "" || len(id) > longest {
		return "", false
	}
	best := most + 1
	for i := range catalogue {
		if d := rule.EditDistance(strings.ToLower(id), string(catalogue[i].ID)); d < best {
			best, near = d, catalogue[i].ID
		}
	}
	return near, best <= most
}

// Text returns the manual page of a cause for a terminal, at most 80 columns wide.
func (c *Cause) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", c.ID, c.Title)
	part := func(head, body string) {
		if body == "" {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", head)
		rule.Wrap(&b, body, "  ", 80)
	}
	block := func(head, code string) {
		if code == "" {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", head)
		for line := range strings.Lines(strings.Trim(code, "\n") + "\n") {
			b.WriteString(strings.TrimRight("  "+strings.ReplaceAll(line, "\t", "    "), " "))
		}
	}
	part("What", c.What)
	part("Known by", c.Signs)
	part("Remedy", c.Remedy)
	block("Wrong", c.Before)
	block("Right", c.After)
	return b.String()
}

// Markdown returns the entry for docs/LEAKS.md.
func (c *Cause) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n%s.\n\n", c.ID, c.Title)
	rule.Wrap(&b, c.What, "", 100)
	if c.Signs != "" {
		b.WriteString("\n")
		rule.Wrap(&b, "*Known by:* "+c.Signs, "", 100)
	}
	b.WriteString("\n")
	rule.Wrap(&b, "*Remedy:* "+c.Remedy, "", 100)
	if c.Before != "" {
		fmt.Fprintf(&b, "\n```go\n// wrong\n%s\n", strings.Trim(c.Before, "\n"))
		if c.After != "" {
			fmt.Fprintf(&b, "\n// right\n%s\n", strings.Trim(c.After, "\n"))
		}
		b.WriteString("```\n")
	}
	return b.String()
}

var catalogue = []Cause{
	{
		ID: SubSlice, Title: "A small slice keeps a large array alive",
		What:   "A slice refers to the whole array that it was cut from. As long as one of 32 bytes is kept, so are the 16 KiB around it.",
		Signs:  "Large objects without pointers of which only the first bytes, or some in the middle, are referred to, by slices much shorter than they are.",
		Remedy: "Copy what is kept. bytes.Clone and slices.Clone make an array of just the length. A three-index slice (b[:n:n]) does not help: it bounds the slice, not the array.",
		Before: "tokens[id] = message[:32]", After: "tokens[id] = bytes.Clone(message[:32])",
	},
	{
		ID: Substring, Title: "A small string keeps a large one alive",
		What:   "Cutting a string copies nothing: the part refers to the bytes of the whole. A user's name that was cut out of a document keeps the document.",
		Signs:  "Large objects without pointers, referred to by strings much shorter than they are.",
		Remedy: "Copy what is kept with strings.Clone. What strings.Cut, strings.Split, strings.Fields, a regular expression or a JSON decoder's RawMessage returns are such parts.",
		Before: "users[shift] = name // a part of document", After: "users[shift] = strings.Clone(name)",
	},
	{
		ID: MapNeverShrinks, Title: "A map keeps the room of its largest time",
		What:   "delete and clear empty a map's slots, and never give them back. A map that once held a million entries keeps their room, whatever is in it now.",
		Signs:  "Maps with many times more slots than entries.",
		Remedy: "Make a new map and copy what is left into it, now and then, or when it has become empty. Where the values are large, keep pointers to them in the map: the slots are small then.",
		Before: "for id := range m {\n\tdelete(m, id)\n}", After: "m = make(map[uint64]order)",
	},
	{
		ID: MapUnbounded, Title: "A map is added to, and nothing is deleted",
		What:   "Entries are put into a map, and what should take them out again does not exist, is not reached, or uses another key.",
		Signs:  "The room of a map grows with what it refers to; the way from the root goes through one map.",
		Remedy: "Delete the entry when what it stands for ends, and bound the map for those that never do, by age or by number (a cache with a limit).",
		Before: "sessions[id] = s", After: "sessions[id] = s\n// when the session ends, and by a sweep for those that never end:\ndelete(sessions, id)",
	},
	{
		ID: SliceUnbounded, Title: "A slice is appended to, and never cut",
		What:   "append to a slice that lives as long as the process: a journal, a history, a queue that is read by an index.",
		Signs:  "append makes a slice larger; the way from the root goes through one slice.",
		Remedy: "Write out and drop what is old, or keep the last N in a ring. Cutting from the front (q = q[1:]) frees nothing until append has to move it: copy, or use a ring.",
		Before: "audit = append(audit, entry)", After: "if len(audit) == cap(audit) { // a fixed room\n\tflush(audit)\n\taudit = audit[:0]\n}\naudit = append(audit, entry)",
	},
	{
		ID: SyncMapUnbounded, Title: "A sync.Map is added to, and nothing is deleted",
		What:   "As with a map; a sync.Map is often a cache of which nobody thought that its keys are without number: a URL with its query, a user's input.",
		Signs:  "What sync.Map allocates for its entries grows.",
		Remedy: "Delete, or use a cache with a limit. Take for the key only what there is a bounded number of.",
		Before: "pages.Store(r.URL.String(), page)", After: "pages.Store(r.URL.Path, page) // of which there are 50",
	},
	{
		ID: ListUnbounded, Title: "A list is added to, and never cut",
		What:   "Elements are put into a container/list, or another linked list, and the end at which they should leave is never reached.",
		Signs:  "list elements grow; the way from the root runs along next pointers.",
		Remedy: "Remove an element for each that is put in once the list is long enough, and look at units where it is cut by age.",
		Before: "recent.PushFront(e)", After: "recent.PushFront(e)\nif recent.Len() > most {\n\trecent.Remove(recent.Back())\n}",
	},
	{
		ID: ChannelBacklog, Title: "A channel fills: its reader is slower than its writer",
		What:   "A channel with a large buffer is a queue. When more is sent than received it fills, and holds all of it.",
		Signs:  "The way from the root goes through the buffer of a channel, of which more and more is in use.",
		Remedy: "Make the buffer small, and let the sender wait, or drop and count: a queue that is ever longer only delays the bad news. Or make the reader faster, with more of them.",
		Before: "outbox := make(chan *mail, 1<<19)", After: "outbox := make(chan *mail, 64)\nselect {\ncase outbox <- m:\ncase <-ctx.Done():\n\treturn ctx.Err()\n}",
	},
	{
		ID: Callbacks, Title: "Callbacks are registered, and never removed",
		What:   "A function that is given to be called later refers to all that it uses. A listener that is not removed keeps the connection, the page, the request that it was made for.",
		Signs:  "The way from the root goes through a slice or map of functions.",
		Remedy: "Have registering return a function that removes, and call that, deferred, where what was registered ends.",
		Before: "settings.OnChange(func(t int) { c.timeout = t })", After: "remove := settings.OnChange(func(t int) { c.timeout = t })\ndefer remove()",
	},
	{
		ID: TimerForgotten, Title: "Timers run on, though nobody waits for them",
		What:   "A timer with a function (time.AfterFunc) is kept by the runtime until it fires, with all that the function refers to. Until Go 1.22 so is every timer.",
		Signs:  "time.AfterFunc or time.NewTimer allocates what grows; the runtime's timers are the root.",
		Remedy: "Stop the timer when what it is for has ended.",
		Before: "s.expiry = time.AfterFunc(24*time.Hour, s.expire)", After: "s.expiry = time.AfterFunc(24*time.Hour, s.expire)\n// at the logout:\ns.expiry.Stop()",
	},
	{
		ID: TickerForgotten, Title: "Tickers run on, though nobody needs them",
		What:   "A goroutine that ranges over a ticker's channel never ends: the channel is not closed, not even by Stop. Until Go 1.22 a ticker that is not stopped is never collected, either.",
		Signs:  "time.NewTicker or time.Tick allocates what grows, and goroutines wait to receive there.",
		Remedy: "Stop the ticker, deferred, and end the loop by a context or a channel that is closed.",
		Before: "t := time.NewTicker(30 * time.Second)\nfor range t.C {\n\tbeat()\n}",
		After:  "t := time.NewTicker(30 * time.Second)\ndefer t.Stop()\nfor {\n\tselect {\n\tcase <-t.C:\n\t\tbeat()\n\tcase <-ctx.Done():\n\t\treturn\n\t}\n}",
	},
	{
		ID: TimeAfterLoop, Title: "time.After in a loop leaves a timer behind each time",
		What:   "Each call makes a timer and a channel. Until Go 1.22, and later with GODEBUG=asynctimerchan=1, they live until the time is over, also when another case of the select came first.",
		Signs:  "time.After allocates what grows.",
		Remedy: "Make one timer before the loop and reset it. Programs whose go.mod says go 1.23 or later do not have the fault.",
		Before: "select {\ncase m := <-messages:\ncase <-time.After(time.Hour):\n\treturn\n}",
		After:  "idle := time.NewTimer(time.Hour)\ndefer idle.Stop()\nfor {\n\tselect {\n\tcase m := <-messages:\n\t\tidle.Reset(time.Hour)\n\tcase <-idle.C:\n\t\treturn\n\t}\n}",
	},
	{
		ID: BodyNotClosed, Title: "Response bodies of an HTTP client are not closed",
		What:   "A connection is given back only when the response was read to its end or closed. Otherwise it stays open, with two goroutines, their stacks and buffers.",
		Signs:  "Goroutines of net/http.(*persistConn).readLoop in select, as many in writeLoop.",
		Remedy: "Close the body of each response, also of those that are errors and of which nobody wants the text. To use the connection again, read it to its end first.",
		Before: "resp, err := http.Get(url)\nif err != nil {\n\treturn err\n}\nreturn check(resp.StatusCode)",
		After:  "resp, err := http.Get(url)\nif err != nil {\n\treturn err\n}\ndefer resp.Body.Close()\nreturn check(resp.StatusCode)",
	},
	{
		ID: NoClientTimeout, Title: "A client waits without a time-out",
		What:   "http.Client has no time-out unless it is given one, and neither has a net.Conn. One server that takes requests and does not answer collects them all.",
		Signs:  "Goroutines in net/http.(*persistConn).roundTrip, or in a read without a deadline.",
		Remedy: "Give the client a Timeout, or each request a context with one.",
		Before: "client := http.Client{}", After: "client := http.Client{Timeout: 10 * time.Second}",
	},
	{
		ID: ContextNotDone, Title: "Contexts are not cancelled",
		What:   "A context derived with a cancel function is kept by its parent until it is cancelled, or the parent is. A parent that lives as long as the process keeps all of them, and their values.",
		Signs:  "package context allocates what grows; the way from the root goes through a cancelCtx's children.",
		Remedy: "Call the cancel function in every case: defer it where the context is made. go vet finds those that are thrown away.",
		Before: "ctx, cancel := context.WithCancel(server)", After: "ctx, cancel := context.WithCancel(server)\ndefer cancel()",
	},
	{
		ID: ContextValues, Title: "A chain of contexts grows longer and longer",
		What:   "context.WithValue makes a context that refers to the one before. In a loop that passes its result on to the next round, the chain keeps every value, and looking one up walks along it.",
		Signs:  "context.WithValue allocates what grows; contexts in contexts, thousands deep.",
		Remedy: "Derive from the context of the request or of the process in each round, not from that of the round before.",
		Before: "for r := range requests {\n\tctx = context.WithValue(ctx, traceKey{}, r.trace)\n\thandle(ctx, r)\n}",
		After:  "for r := range requests {\n\thandle(context.WithValue(ctx, traceKey{}, r.trace), r)\n}",
	},
	{
		ID: GoroutineSend, Title: "Goroutines wait to send, and nobody receives",
		What:   "A goroutine that sends its result on an unbuffered channel waits for ever when who asked has given up.",
		Signs:  "More and more goroutines in chan send at one place.",
		Remedy: "Give the channel room for the one result, or send in a select with ctx.Done().",
		Before: "result := make(chan string)\ngo func() { result <- query() }()", After: "result := make(chan string, 1)\ngo func() { result <- query() }()",
	},
	{
		ID: GoroutineReceive, Title: "Goroutines wait to receive, and nobody sends or closes",
		What:   "A worker that ranges over a channel ends when the channel is closed, and not before.",
		Signs:  "More and more goroutines in chan receive at one place.",
		Remedy: "Close the channel where the last value was sent, deferred, so that errors on the way do it too; or receive in a select with ctx.Done().",
		Before: "jobs := make(chan job)\ngo worker(jobs)\nfor _, j := range list {\n\tjobs <- j\n}", After: "jobs := make(chan job)\ndefer close(jobs)\ngo worker(jobs)\nfor _, j := range list {\n\tjobs <- j\n}",
	},
	{
		ID: GoroutineSelect, Title: "Goroutines wait in a select, and no case of it comes",
		What:   "A loop with a select has no case that ends it, or one on a context that nobody cancels.",
		Signs:  "More and more goroutines in select at one place.",
		Remedy: "Add a case for the end, and bring the end about: cancel the context, or close the channel, where what the goroutine serves ends.",
		Before: "for {\n\tselect {\n\tcase m := <-c.messages:\n\t\thandle(m)\n\t}\n}", After: "for {\n\tselect {\n\tcase m := <-c.messages:\n\t\thandle(m)\n\tcase <-c.closed:\n\t\treturn\n\t}\n}",
	},
	{
		ID: GoroutineLock, Title: "Goroutines wait for a lock that nobody lets go of",
		What:   "A path that returns, or panics, without Unlock; a WaitGroup with one Done too few; two locks taken in two orders.",
		Signs:  "More and more goroutines in sync.Mutex.Lock, sync.WaitGroup.Wait or semacquire at one place.",
		Remedy: "Unlock, and call Done, deferred, on the line after. Find the holder: it stands in the goroutine profile too.",
		Before: "mu.Lock()\nif err := f(); err != nil {\n\treturn err\n}\nmu.Unlock()", After: "mu.Lock()\ndefer mu.Unlock()\nreturn f()",
	},
	{
		ID: GoroutineSleep, Title: "Goroutines sleep and begin again, for ever",
		What:   "A loop that tries again after a pause, without a bound and without a way to end it, or one that looks for something to come.",
		Signs:  "More and more goroutines in sleep at one place.",
		Remedy: "Wait in a select with ctx.Done() and a timer, and give up after a number of attempts.",
		Before: "for !ready() {\n\ttime.Sleep(time.Second)\n}", After: "for !ready() {\n\tselect {\n\tcase <-time.After(time.Second):\n\tcase <-ctx.Done():\n\t\treturn ctx.Err()\n\t}\n}",
	},
	{
		ID: FinalizerChain, Title: "Objects with finalizers keep each other alive",
		What:   "An object with a finalizer lives for one more collection, with all that it refers to. In a chain of them one is freed per collection; in a cycle none ever is.",
		Signs:  "Objects with finalizers that refer to others with finalizers.",
		Remedy: "Close explicitly, and use runtime.AddCleanup (Go 1.24) in place of SetFinalizer: a cleanup does not keep its object alive.",
		Before: "runtime.SetFinalizer(p, (*page).close)", After: "runtime.AddCleanup(p, closeFile, p.file)",
	},
	{
		ID: PoolHoard, Title: "A sync.Pool keeps objects that have grown large",
		What:   "What is put into a pool has the size that its largest use gave it. When any may become large once, in the end all are.",
		Signs:  "The way from the root goes through a sync.Pool; buffers in it that are much larger than what they are used for.",
		Remedy: "Do not put large ones back.",
		Before: "pool.Put(b)", After: "if b.Cap() <= 64<<10 {\n\tpool.Put(b)\n}",
	},
	{
		ID: StringInterning, Title: "An intern table keeps every string that it ever saw",
		What:   "Interning pays for strings that come again. A table of those that do not, a request's ID or a URL, only grows.",
		Signs:  "A map whose keys and values are the same strings, or a function that interns.",
		Remedy: "Intern only what there is a bounded number of, bound the table, or use package unique (Go 1.23), whose table lets go of what nobody uses.",
		Before: "table[s] = s", After: "h := unique.Make(s)",
	},
	{
		ID: AppendAliasing, Title: "A short slice was appended to in the array of a long one",
		What:   "append writes into the room behind a slice when there is some. batch[:1] with something appended still is the array of the whole batch.",
		Signs:  "Arrays of which only the first elements are within the length of any slice, and which have elements with pointers or structure.",
		Remedy: "Copy what is kept: slices.Clone, or append to a slice without room.",
		Before: "kept[id] = append(batch[:1], sum)", After: "kept[id] = append([]record(nil), batch[0], sum)",
	},
	{
		ID: ClosureCapture, Title: "Functions that are kept keep what they captured",
		What:   "A function literal refers to each variable of around it that it uses, whole: one field of a request is the request, with its body.",
		Signs:  "The way from the root goes through a function's closure, which keeps much more than a few words.",
		Remedy: "Copy what the function needs into variables of its own before.",
		Before: "undo[id] = func() { names[id] = r.oldName }", After: "old := strings.Clone(r.oldName)\nundo[id] = func() { names[id] = old }",
	},
	{
		ID: BufferNeverSmall, Title: "Buffers keep the size of the largest message",
		What:   "bytes.Buffer, and a slice cut to [:0], keep their array. Where each connection has one, in the end each has one for the largest message that there is.",
		Signs:  "bytes.Buffer or append allocates what grows, at most one for each owner, and few of the bytes are used.",
		Remedy: "Let go of a buffer that has become large, in place of resetting it.",
		Before: "d.inbox.Reset()", After: "if d.inbox.Cap() > 64<<10 {\n\td.inbox = bytes.Buffer{}\n}\nd.inbox.Reset()",
	},
	{
		ID: DeferInLoop, Title: "Deferred calls pile up in a function that does not return",
		What:   "A deferred call runs when its function returns, not at the end of the block. In a loop that lasts as long as the process each round leaves one, with what it refers to.",
		Signs:  "The runtime's deferred calls (runtime.newdefer) grow; they are kept by one goroutine.",
		Remedy: "Make the body of the loop a function.",
		Before: "for m := range messages {\n\tdefer m.release()\n\thandle(m)\n}", After: "for m := range messages {\n\tfunc() {\n\t\tdefer m.release()\n\t\thandle(m)\n\t}()\n}",
	},
	{
		ID: DeepStacks, Title: "Goroutines go deeper and deeper",
		What:   "Recursion that does not come back: a state machine whose states call each other, a retry that calls itself. Each call keeps its frame.",
		Signs:  "Memory for stacks grows, and the number of goroutines does not.",
		Remedy: "Make a loop of it, and let a state return the next one.",
		Before: "func (s *session) idle() {\n\twait()\n\ts.active()\n}", After: "for state := s.idle; state != nil; {\n\tstate = state()\n}",
	},
	{
		ID: OffHeap, Title: "Memory outside of Go grows",
		What:   "Memory that C code or mmap took is not known to the collector, and not in a heap profile.",
		Signs:  "Resident memory grows beyond what the Go runtime has mapped.",
		Remedy: "Look for C.malloc without C.free, for mmap without munmap, and for libraries that have caches of their own. jemalloc's or glibc's own statistics say more.",
		Before: "segment, err := syscall.Mmap(...)", After: "segment, err := syscall.Mmap(...)\ndefer syscall.Munmap(segment)",
	},
	{
		ID: LimitTooSmall, Title: "The limit is too small for what the program needs",
		What:   "Nothing leaks: the live heap, with the room that the collector needs, does not fit.",
		Signs:  "The live heap does not rise, and twice of it is more than the container has.",
		Remedy: "Raise the container's limit, or set GOMEMLIMIT and accept more collections: heapwright tune says which.",
	},
	{
		ID: UnknownCause, Title: "Not known",
		What:   "Something grows, and nothing that was seen of it is typical of one cause.",
		Remedy: "Ask what refers to what this allocates, and when that should let go. --retention=auto names who holds it.",
	},
}
