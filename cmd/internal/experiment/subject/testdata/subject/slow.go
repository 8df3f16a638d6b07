//go:build slow

package main

func init() { flavour = "slow" }
