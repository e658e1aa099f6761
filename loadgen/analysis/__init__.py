"""From records to a Summary. Pure: it is handed data, opens no socket, never sleeps, never looks at a clock."""
