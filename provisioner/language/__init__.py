"""The spec language: a tree checked against the schema, then read into a `Spec`. Structure only, no bytes."""
