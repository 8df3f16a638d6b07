package pclntab

import "strings"

// printName replaces the type arguments of a generic function's symbol by
// "...", as runtime.Frame.Function has it (runtime.funcNamePiecesForPrint of
// Go 1.27, which has generic methods of generic types; the same result as that
// of Go 1.21 to 1.26 for their names. In Go 1.20 the linker did it.)
func printName(name string) string {
	i := strings.IndexByte(name, '[')
	if i < 0 {
		return name
	}
	j := strings.LastIndexByte(name, ']')
	if j <= i {
		return name
	}
	interior := name[i+1 : j]
	if strings.IndexByte(interior, '[') < 0 {
		return name[:i] + "[...]" + name[j+1:]
	}
	// Either one list of arguments that has brackets of its own, or two lists
	// with a name between them.
	depth, rbr, lbr := 1, -1, -1
scan:
	for k := 0; k < len(interior); k++ {
		switch interior[k] {
		case '[':
			if depth++; depth == 1 {
				lbr = k
				break scan
			}
		case ']':
			if depth--; depth < 0 {
				break scan
			}
			if depth == 0 {
				rbr = k
			}
		}
	}
	switch {
	case depth != 1:
		return name
	case rbr >= 0 && lbr > rbr:
		return name[:i] + "[...]" + interior[rbr+1:lbr] + "[...]" + name[j+1:]
	case rbr == -1 && lbr == -1:
		return name[:i] + "[...]" + name[j+1:]
	}
	return name
}
