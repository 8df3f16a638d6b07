//go:build plain

package main

func tune() {}
