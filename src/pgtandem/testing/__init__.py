"""For tests, here and elsewhere: fakes of the ports, a simulated world, checkers."""
