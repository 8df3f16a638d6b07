//go:build refresh

package main

import "time"

const every = time.Hour
