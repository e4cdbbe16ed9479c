fn main() {
    streamgauge::cli::main()
}
