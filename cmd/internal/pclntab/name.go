package pclntab

import "strings"

// printNameFor returns how a release replaces the type arguments of a generic
// function's symbol by "..." in runtime.Frame.Function.
func printNameFor(goVersion string) func(string) string {
	switch {
	case strings.HasPrefix(goVersion, "go1.20"):
		// The linker did it, but for what the compiler generated.
		return func(name string) string { return name }
	case strings.HasPrefix(goVersion, "go1.27"):
		return printName127
	}
	return printName121
}

// printName121 is runtime.funcNamePiecesForPrint of Go 1.21 to 1.26.
func printName121(name string) string {
	i := strings.IndexByte(name, '[')
	j := strings.LastIndexByte(name, ']')
	if i < 0 || j <= i {
		return name
	}
	return name[:i] + "[...]" + name[j+1:]
}

// printName127 is runtime.funcNamePiecesForPrint of Go 1.27, which has generic
// methods of generic types.
func printName127(name string) string {
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
