"""The benchmark: uploads and routed calls, measured side by side with what people would use instead.

`shim bench` (or `make bench`) makes an environment of its own and runs `python -m bench` in it. Nothing imports this
package; `bench.harness` says what a benchmark is made of and how to add one.
"""
