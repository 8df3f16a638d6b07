package procmem

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A Mapping is a line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64 // End is the first address after it
	Perm       string // "r-xp"
	Offset     uint64 // of Start in the file
	Major      uint32 // device of the file
	Minor      uint32
	Inode      uint64 // 0 when it is no file
	Path       string // as the kernel prints it: "[stack]", "/lib/x.so (deleted)", "" for anonymous memory
}

// Contains reports whether addr lies in the mapping.
func (m Mapping) Contains(addr uint64) bool { return m.Start <= addr && addr < m.End }

// Readable reports whether the mapping has read permission.
func (m Mapping) Readable() bool { return len(m.Perm) > 0 && m.Perm[0] == 'r' }

// Writable reports whether the mapping has write permission.
func (m Mapping) Writable() bool { return len(m.Perm) > 1 && m.Perm[1] == 'w' }

const (
	maxMappings  = 1 << 20
	maxMapsBytes = 128 << 20
)

// errDisorder: a mapping begins before the end of the one before it, as it can
// when it grew downwards, or took in others, after that was printed.
var errDisorder = errors.New("it is out of order")

// parseMaps parses the text of /proc/PID/maps. Anything that the kernel would
// not print is an error.
func parseMaps(r io.Reader) ([]Mapping, error) {
	var maps []Mapping
	var path, perm string // of the line before: mostly the same again
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 8<<10), 64<<10) // a path is at most 4 KiB, escaped 16 KiB
	var size int
	for sc.Scan() {
		line := sc.Bytes()
		if size += len(line) + 1; size > maxMapsBytes || len(maps) == maxMappings {
			return nil, fmt.Errorf("list of mappings: %w", ErrTooLarge)
		}
		m, rest, ok := parseMapping(line)
		if !ok {
			return nil, fmt.Errorf("line %d of the mappings is malformed", len(maps)+1)
		}
		if n := len(maps); n > 0 && m.Start < maps[n-1].End {
			return nil, fmt.Errorf("line %d of the mappings: %w", n+1, errDisorder)
		}
		if string(rest.perm) != perm {
			perm = string(rest.perm)
		}
		if string(rest.path) != path {
			path = string(rest.path)
		}
		m.Perm, m.Path = perm, path
		maps = append(maps, m)
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d of the mappings: %w", len(maps)+1, ErrTooLarge)
	} else if err != nil {
		return nil, err
	}
	return maps, nil
}

type mappingText struct{ perm, path []byte }

func parseMapping(line []byte) (m Mapping, t mappingText, ok bool) {
	// 55d0f2a3c000-55d0f2a3e000 r--p 00000000 fe:00 1234      /usr/bin/cat
	var start, end, offset, major, minor, inode []byte
	if start, line, ok = bytes.Cut(line, []byte("-")); !ok {
		return
	}
	if end, line, ok = bytes.Cut(line, []byte(" ")); !ok {
		return
	}
	if t.perm, line, ok = bytes.Cut(line, []byte(" ")); !ok || len(t.perm) != 4 {
		return m, t, false
	}
	if offset, line, ok = bytes.Cut(line, []byte(" ")); !ok {
		return
	}
	if major, line, ok = bytes.Cut(line, []byte(":")); !ok {
		return
	}
	if minor, line, ok = bytes.Cut(line, []byte(" ")); !ok {
		return
	}
	inode, line, _ = bytes.Cut(line, []byte(" "))
	t.path = bytes.TrimLeft(line, " ")

	var bad bool
	num := func(b []byte, base, bits int) uint64 {
		v, err := strconv.ParseUint(string(b), base, bits)
		bad = bad || err != nil
		return v
	}
	m.Start, m.End, m.Offset = num(start, 16, 64), num(end, 16, 64), num(offset, 16, 64)
	m.Major, m.Minor = uint32(num(major, 16, 32)), uint32(num(minor, 16, 32))
	m.Inode = num(inode, 10, 64)
	return m, t, !bad && m.Start < m.End
}

// A procStat is what we need of /proc/PID/stat.
type procStat struct {
	state byte   // field 3
	flags uint64 // field 9, PF_*
	start uint64 // field 22, clock ticks since boot
}

// parseStat takes the fields by number. The second one, the command name, may
// hold anything, parentheses and spaces included.
func parseStat(text []byte) (st procStat, err error) {
	malformed := errors.New("/proc/PID/stat is malformed")
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return st, malformed
	}
	rest := text[i+1:]
	for field := 3; field <= 22; field++ {
		var word []byte
		word, rest, _ = bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
		if len(word) == 0 {
			return st, malformed
		}
		switch field {
		case 3:
			if st.state = word[0]; st.state < 'A' || st.state > 'z' {
				return st, malformed
			}
		case 9:
			st.flags, err = strconv.ParseUint(string(word), 10, 64)
		case 22:
			st.start, err = strconv.ParseUint(string(word), 10, 64)
		}
		if err != nil {
			return st, malformed
		}
	}
	return st, nil
}
