// Command caddy is Caddy with its standard modules, and Heapwright's.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/heapwright/heapwright/integrations/caddy"
)

func main() {
	caddycmd.Main()
}
