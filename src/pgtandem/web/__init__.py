"""What browsers and programs read: metrics and health checks over HTTP, and the report as a page. Shows values, decides
nothing; the looks behind them come from `observe`."""
