//go:build race

package paired

const raceEnabled = true
