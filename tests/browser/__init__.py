"""What people meet: the dashboard in a real browser, driven by Playwright."""
