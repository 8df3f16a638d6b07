package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go test . -run ^TestPages$ -update

// Pages returns the manual of the command line as Markdown: file name to text, a
// page a command, and README.md, which lists them. It is made of what --help
// prints, so that the two cannot differ.
func Pages() map[string]string {
	root := Tree(Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }})
	pages := map[string]string{}
	var index strings.Builder
	fmt.Fprintf(&index, "%s# heapwright\n\n%s\n\n| command | |\n|---|---|\n", generated, root.Long)
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "completion" {
			continue
		}
		name := c.Name() + ".md"
		pages[name] = page(c)
		fmt.Fprintf(&index, "| [%s](%s) | %s |\n", c.Name(), name, c.Short)
	}
	index.WriteString("\n`heapwright completion SHELL` prints completions for bash, zsh, fish and powershell;\n`heapwright completion bash --help` says how to load them.\n")
	pages["README.md"] = index.String()
	return pages
}

// generated is the first line of every page.
const generated = "<!-- Generated from the command tree: go generate ./internal/cli. Do not edit. -->\n\n"

func page(c *cobra.Command) string {
	var b strings.Builder
	long := c.Long
	if long == "" {
		long = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	fmt.Fprintf(&b, "%s# heapwright %s\n\n%s\n\n```\n%s\n```\n", generated, c.Name(), long, usageLine(c))
	writeExamples(&b, c, "##")
	writeFlags(&b, c, "##")
	for _, s := range c.Commands() {
		if !s.IsAvailableCommand() {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```\n%s\n```\n", s.CommandPath(), s.Long, usageLine(s))
		writeExamples(&b, s, "###")
		writeFlags(&b, s, "###")
	}
	return b.String()
}

func writeExamples(b *strings.Builder, c *cobra.Command, level string) {
	if c.Example != "" {
		var lines []string
		for _, l := range strings.Split(c.Example, "\n") {
			lines = append(lines, strings.TrimPrefix(l, "  "))
		}
		fmt.Fprintf(b, "\n%s Examples\n\n```sh\n%s\n```\n", level, strings.Join(lines, "\n"))
	}
}

func writeFlags(b *strings.Builder, c *cobra.Command, level string) {
	fmt.Fprintf(b, "\n%s Flags\n\n| flag | | default |\n|---|---|---|\n", level)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		arg, usage := pflag.UnquoteUsage(f)
		if arg != "" {
			name += " " + arg
		}
		def := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			def = "`" + f.DefValue + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|"), def)
	})
}
