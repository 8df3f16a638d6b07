//go:build once

package main

const every = 0
