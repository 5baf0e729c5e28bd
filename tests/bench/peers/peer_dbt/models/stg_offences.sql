-- Offences of cases that count: convictions, penalties by the prosecutor, and what is pending
select
    cases.bsn,
    cases.zaaknummer as case_number,
    coalesce(cast(offences.pleegdatum as date), cast(cases.inschrijfdatum as date)) as committed,
    coalesce(cast(disposals.onvoorwaardelijk_dagen as integer), 0) > 0 as is_custodial
from {{ delivered("registry", "cases") }} as cases
left join {{ delivered("registry", "offences") }} as offences on cases.zaaknummer = offences.zaaknummer
left join {{ delivered("registry", "disposals") }} as disposals on cases.zaaknummer = disposals.zaaknummer
where
    cast(cases.inschrijfdatum as date) <= date '{{ var("cutoff") }}'
    and coalesce(disposals.afdoening, 'OPEN') in ('VER', 'STB', 'OPEN')
