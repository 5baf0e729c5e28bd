{{ staged("risc") }}
