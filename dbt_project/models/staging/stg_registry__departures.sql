{{ staged("departures", kind="registry") }}
