package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a file. Lines and columns count from 1.
type Problem struct {
	Line, Column int
	Key          string // the key it is about: variants[1].gogc; may be empty
	Text         string // what is wrong, and what to write instead
}

func (p Problem) String() string {
	text := p.Text
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, text)
}

// Errors is everything that is wrong with a file, in its order.
type Errors struct {
	File     string
	Problems []Problem
	More     int // that are left out
}

func (e *Errors) Error() string { return strings.Join(e.Lines(), "\n") }

// Lines are the problems as editors and compilers know them: FILE:LINE:COLUMN: text.
func (e *Errors) Lines() []string {
	var out []string
	for _, p := range e.Problems {
		out = append(out, e.File+":"+p.String())
	}
	if e.More > 0 {
		out = append(out, fmt.Sprintf("%s: and %d more", e.File, e.More))
	}
	return out
}

func newErrors(name string, problems []Problem) *Errors {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	problems = slices.Compact(problems)
	e := &Errors{File: name, Problems: problems}
	if len(problems) > MaxProblems {
		e.Problems, e.More = problems[:MaxProblems], len(problems)-MaxProblems
	}
	return e
}

// Quote shows a piece of the file.
func Quote(s string) string { return strconv.Quote(Clip(s, 60)) }

// Clip bounds a text, at the end of a character.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
