"""The warehouse on BigQuery: a dataset per tenant, jobs that may be repeated, nothing local."""
