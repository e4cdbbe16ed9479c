// Prometheus and promtool for the tests. They are built through this module because "go install" refuses Prometheus' own
// go.mod, which replaces modules. 0.312.0 is Prometheus 3.12; build with -tags remove_all_sd (no service discovery).
module streamgauge.test/prometheus

go 1.25.0

require github.com/prometheus/prometheus v0.312.0
