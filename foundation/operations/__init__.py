"""Operations: health, metrics, the doctor, audits, housekeeping, task dispatch."""
