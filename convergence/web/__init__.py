"""The dashboard: pages of HTML over the same verbs as the API. A file for each page."""
