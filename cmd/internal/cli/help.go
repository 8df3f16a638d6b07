package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// writeHelp prints a command's manual page for a terminal.
func writeHelp(w io.Writer, c *cobra.Command, columns int) {
	var b strings.Builder
	long := c.Long
	if long == "" {
		long = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n  %s\n", long, usageLine(c))
	if c.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-11s %s\n", sub.Name(), sub.Short)
			}
		}
		fmt.Fprintf(&b, "\n%s COMMAND --help says more.\n", c.CommandPath())
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", c.Example)
	}
	if flags := c.LocalFlags().FlagUsagesWrapped(columns); flags != "" && c.Runnable() {
		fmt.Fprintf(&b, "\nFlags:\n%s", flags)
	}
	// There is nobody to tell when help cannot be printed.
	_, _ = io.WriteString(w, b.String())
}

func usageLine(c *cobra.Command) string {
	if c.HasParent() {
		return strings.TrimSuffix(c.UseLine(), " [flags]")
	}
	return c.CommandPath() + " COMMAND"
}
