package planfile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// An example is how an amount of a unit is written.
var example = map[chaos.Unit]string{
	chaos.Bytes: "128MiB", chaos.BytesPerSecond: "400MiB/s", chaos.Count: "5000", chaos.CountPerSecond: "20/s", chaos.Cores: "0.5 cores", chaos.Seconds: "250ms", chaos.Ratio: "100%",
}

// parseLevel reads a level of a kind: an amount in its unit, or a share.
func parseLevel(k chaos.KindInfo, s string) (chaos.Level, error) {
	if number, ok := strings.CutSuffix(s, "%"); ok && k.Unit != chaos.Ratio {
		if k.Share == "" {
			return chaos.Level{}, fmt.Errorf("%s of what? Levels of %s are such as %s", strictyaml.Quote(s), k.Kind, example[k.Unit])
		}
		v, err := strictyaml.ParseNumber(strings.TrimRight(number, " "))
		if err != nil {
			return chaos.Level{}, fmt.Errorf("%s is no share: write 50%%", strictyaml.Quote(s))
		}
		return chaos.Level{Value: v / 100, Share: true}, nil
	}
	v, err := parseAmount(k.Unit, s)
	if err != nil {
		or := ""
		if k.Share != "" {
			or = ", or 50% of the " + k.Share
		}
		return chaos.Level{}, fmt.Errorf("%s is no level of %s: write %s%s", strictyaml.Quote(s), k.Kind, example[k.Unit], or)
	}
	return chaos.Level{Value: v}, nil
}

// parseAmount reads an amount of a unit.
func parseAmount(u chaos.Unit, s string) (float64, error) {
	switch u {
	case chaos.Bytes:
		v, err := planfile.ParseBytes(s)
		return float64(v), err
	case chaos.BytesPerSecond:
		size, ok := strings.CutSuffix(s, "/s")
		if !ok {
			return 0, fmt.Errorf("%s is no rate: write %s", strictyaml.Quote(s), example[u])
		}
		v, err := planfile.ParseBytes(strings.TrimRight(size, " "))
		return float64(v), err
	case chaos.CountPerSecond:
		return strictyaml.ParseNumber(strings.TrimRight(strings.TrimSuffix(s, "/s"), " "))
	case chaos.Cores:
		return strictyaml.ParseNumber(strings.TrimRight(strings.TrimSuffix(strings.TrimSuffix(s, "cores"), "core"), " "))
	case chaos.Ratio:
		v, err := planfile.ParseRatio(s)
		return float64(v), err
	case chaos.Seconds:
		v, err := strictyaml.ParseDuration(s)
		if err == nil && v < 0 {
			return 0, fmt.Errorf("%s is before it begins", strictyaml.Quote(s))
		}
		return v.Seconds(), err
	}
	return strictyaml.ParseNumber(s)
}

// parseSlope reads how much a level may change in a second.
func parseSlope(u chaos.Unit, s string) (float64, error) {
	amount := strings.TrimRight(strings.TrimSuffix(s, "/s"), " ")
	if u == chaos.BytesPerSecond && !strings.HasSuffix(amount, "/s") {
		amount += "/s"
	}
	v, err := parseAmount(u, amount)
	if err != nil || v <= 0 {
		return 0, fmt.Errorf("%s is no slope: write how much the level may change in a second, such as %s/s", strictyaml.Quote(s), strings.TrimSuffix(example[u], "/s"))
	}
	return v, nil
}

// How the values of metrics that have no unit are written, by how their names end.
const (
	ratioSuffix = "_ratio"
	rateSuffix  = "_per_second"
)

// maxFactor bounds a bound that is a factor of the baseline.
const maxFactor = 1000

// parseBound reads a bound of a metric.
func parseBound(m chaos.MetricInfo, ofBaseline bool, s string) (float64, error) {
	if ofBaseline {
		number, percent := strings.CutSuffix(s, "%")
		v, err := strictyaml.ParseNumber(number)
		if percent {
			v /= 100
		}
		if err != nil || v <= 0 || v > maxFactor {
			return 0, fmt.Errorf("%s is no factor of the baseline: write 1.5 or 150%%", strictyaml.Quote(s))
		}
		return v, nil
	}
	name := string(m.Metric)
	switch {
	case m.Unit != "":
		v, err := parseAmount(m.Unit, s)
		if err != nil {
			return 0, fmt.Errorf("%s is no value of %s: write %s", strictyaml.Quote(s), name, example[m.Unit])
		}
		return v, nil
	case strings.HasSuffix(name, ratioSuffix):
		v, err := planfile.ParseRatio(s)
		if err == nil && v > 1 {
			err = fmt.Errorf("%s is more than all", strictyaml.Quote(s))
		}
		return float64(v), err
	case strings.HasSuffix(name, rateSuffix):
		s = strings.TrimRight(strings.TrimSuffix(s, "/s"), " ")
	}
	v, err := strictyaml.ParseNumber(s)
	if err != nil {
		return 0, fmt.Errorf("%s is no value of %s: write a number", strictyaml.Quote(s), name)
	}
	return v, nil
}

// formatLevel writes what parseLevel reads.
func formatLevel(k chaos.KindInfo, l chaos.Level) string {
	if l.Share {
		return percent(l.Value)
	}
	return formatAmount(k.Unit, l.Value)
}

// formatAmount writes what parseAmount reads.
func formatAmount(u chaos.Unit, v float64) string {
	switch u {
	case chaos.Bytes:
		return formatBytes(v)
	case chaos.BytesPerSecond:
		return formatBytes(v) + "/s"
	case chaos.CountPerSecond:
		return plain(v) + "/s"
	case chaos.Cores:
		return plain(v) + " cores"
	case chaos.Ratio:
		return percent(v)
	case chaos.Seconds:
		return time.Duration(math.Round(v * 1e9)).String()
	}
	return plain(v)
}

// formatSlope writes what parseSlope reads.
func formatSlope(u chaos.Unit, v float64) string {
	if v == 0 {
		return ""
	}
	return strings.TrimSuffix(formatAmount(u, v), "/s") + "/s"
}

// formatBound writes what parseBound reads.
func formatBound(m chaos.MetricInfo, ofBaseline bool, v *float64) string {
	switch {
	case v == nil:
		return ""
	case ofBaseline:
		return plain(*v)
	case m.Unit != "":
		return formatAmount(m.Unit, *v)
	case strings.HasSuffix(string(m.Metric), ratioSuffix):
		return percent(*v)
	}
	return plain(*v)
}

func plain(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func percent(v float64) string { return experiment.Ratio(v).Percent() }

func formatBytes(v float64) string {
	for _, u := range []struct {
		name string
		size float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v >= u.size && math.Mod(v, u.size) == 0 {
			return plain(v/u.size) + u.name
		}
	}
	return plain(v)
}
