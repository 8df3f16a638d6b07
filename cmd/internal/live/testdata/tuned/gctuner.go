//go:build gctuner

package main

import "github.com/bytedance/gopkg/util/gctuner"

func tune() { gctuner.Tuning(2) }
