"""Tests of the pages in a browser: Debian's Chromium, beside a real web server and worker."""
