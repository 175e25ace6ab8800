"""From a trained network's predictions to what it writes."""
