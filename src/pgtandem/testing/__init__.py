"""For tests, here and elsewhere: fakes of the ports, a simulated world, checkers.

A `SimWorld` holds hosts, files and PostgreSQL servers in memory, under a virtual clock; its `ports()` are what the real
observe, plan and apply run on. Every call that crosses a port is counted and can be made to fail, or to be the last one
(kill -9). The same seed gives the same run.
"""
