"""The live view in a terminal. Shows values, decides nothing; the looks behind them come from `observe`."""
