# Reoffending after the landmark by the alliance at T2, as a research group scripts it in R.
# Rscript peer.R DELIVERIES OUT [IMPUTATIONS]: writes table1.csv, estimates.csv and cohort.sav.
for (package in c("dplyr", "tidyr", "readr", "survival", "mice", "haven")) {
  if (!requireNamespace(package, quietly = TRUE)) {
    message("the R package ", package, " is not installed")
    quit(status = 2)
  }
}
suppressPackageStartupMessages({
  library(dplyr)
  library(tidyr)
  library(readr)
  library(survival)
  library(mice)
  library(haven)
})
arguments <- commandArgs(trailingOnly = TRUE)
deliveries <- arguments[1]
out <- arguments[2]

enrolled_from <- as.Date("2022-01-01")
enrolled_until <- as.Date("2022-12-31")
cutoff <- as.Date("2025-12-31")
days <- function(months) round(months * 30.4375)
imputations <- if (length(arguments) > 2) as.integer(arguments[3]) else 20
iterations <- 20

# Reading -------------------------------------------------------------------------------------------------------------
newest <- function(organisation, table) {
  max(Sys.glob(file.path(deliveries, organisation, "*", "*", paste0(table, ".csv"))))
}
read_text <- function(organisation, table, delimiter = ";", encoding = "UTF-8") {
  read_delim(newest(organisation, table), delim = delimiter, locale = locale(encoding = encoding),
             col_types = cols(.default = "c"), na = "", progress = FALSE)
}
# Columns of each organisation under one name
layout <- list(
  clients = list(
    rn = c(client = "Clientnummer", bsn = "BSN", born = "Geboortedatum", sex = "Geslacht", country = "Geboorteland",
           mother = "Geboorteland moeder", father = "Geboorteland vader"),
    svg = c(client = "CLT_NR", bsn = "BSN_NR", born = "GEB_DAT", sex = "GESL", country = "GEB_LAND",
            mother = "GEB_LAND_M", father = "GEB_LAND_V"),
    ljr = c(client = "clnr", bsn = "bsn", born = "gebdat", sex = "gesl", country = "geblnd", mother = "geblndm",
            father = "geblndv")),
  supervisions = list(
    rn = c(supervision = "Toezichtnummer", client = "Clientnummer", start = "Begindatum"),
    svg = c(supervision = "TZT_NR", client = "CLT_NR", start = "BEG_DAT"),
    ljr = c(supervision = "tznr", client = "clnr", start = "begdat")),
  assignments = list(
    rn = c(assignment = "Toewijzingsnummer", supervision = "Toezichtnummer", officer = "Werkernummer",
           from = "Begindatum", until = "Einddatum"),
    svg = c(assignment = "TOEW_NR", supervision = "TZT_NR", officer = "MDW_NR", from = "BEG_DAT", until = "EIND_DAT"),
    ljr = c(assignment = "toewnr", supervision = "tznr", officer = "rwnr", from = "begdat", until = "einddat")),
  officers = list(
    rn = c(officer = "Werkernummer", orientation = "Regelgerichtheid"),
    svg = c(officer = "MDW_NR", orientation = "REGEL_SC"),
    ljr = c(officer = "rwnr", orientation = "regelor")),
  waves = list(
    rn = c(supervision = "Toezichtnummer", wave = "Meting", rater = "Beoordelaar", status = "Status",
           measured = "Meetdatum"),
    svg = c(supervision = "TZT_NR", wave = "METING", rater = "BEOORD", status = "STATUS", measured = "MEET_DAT"),
    ljr = c(supervision = "tznr", wave = "meting", rater = "beoord", status = "status", measured = "meetdat")),
  item_responses = list(
    rn = c(supervision = "Toezichtnummer", wave = "Meting", rater = "Beoordelaar", item = "Item", response = "Antwoord"),
    svg = c(supervision = "TZT_NR", wave = "METING", rater = "BEOORD", item = "ITEM", response = "SCORE"),
    ljr = c(supervision = "tznr", wave = "meting", rater = "beoord", item = "item", response = "antw")),
  covariates = list(
    rn = c(client = "Clientnummer", name = "Kenmerk", value = "Waarde", source = "Bron", measured = "Meetdatum"),
    svg = c(client = "CLT_NR", name = "KENM", value = "WRD", source = "BRON", measured = "MEET_DAT"),
    ljr = c(client = "clnr", name = "kenmerk", value = "waarde", source = "bron", measured = "meetdat")),
  risc = list(
    rn = c(client = "Clientnummer", measured = "Datum afname", drugs = "Schaal 8", alcohol = "Schaal 9",
           total = "Totaalscore"),
    svg = c(client = "CLT_NR", measured = "AFN_DAT", drugs = "SCH_08", alcohol = "SCH_09", total = "RISC_TOT"),
    ljr = c(client = "clnr", measured = "afndat", drugs = "sch8", alcohol = "sch9", total = "risctot"))
)
read_partners <- function(table) {
  bind_rows(lapply(c("rn", "svg", "ljr"), function(organisation) {
    read_text(organisation, table, encoding = if (organisation == "rn") "windows-1252" else "UTF-8") |>
      select(all_of(layout[[table]][[organisation]])) |>
      mutate(organisation = organisation)
  }))
}
day <- function(text) as.Date(text, "%d-%m-%Y")
registry <- function(table) read_text("registry", table, ",")

as_rater <- function(code) {
  case_when(code %in% c("cli\u00ebnt", "1") ~ "client", code %in% c("werker", "2") ~ "officer")
}
as_wave <- function(code) paste0("t", sub("T", "", code))
as_country <- function(code) {
  case_when(code %in% c("onbekend", "99") | is.na(code) ~ NA_character_, code %in% c("Nederland", "1") ~ "nl",
            code %in% c("EU overig", "6") ~ "western", TRUE ~ "non_western")
}
clients <- read_partners("clients") |>
  mutate(born = day(born), is_male = as.numeric(sex %in% c("M", "1")), across(c(country, mother, father), as_country))
supervisions <- read_partners("supervisions") |> mutate(start = day(start))
assignments <- read_partners("assignments") |> mutate(from = day(from), until = coalesce(day(until), cutoff + 36500))
officers <- read_partners("officers") |> mutate(orientation = as.numeric(sub(",", ".", orientation)))
waves <- read_partners("waves") |>
  mutate(wave = as_wave(wave), rater = as_rater(rater), measured = day(measured), is_done = status %in% c("afgenomen", "1"))
answers <- read_partners("item_responses") |>
  mutate(wave = as_wave(wave), rater = as_rater(rater), response = na_if(as.numeric(response), 9)) |>
  filter(!is.na(response))
covariates <- read_partners("covariates") |>
  mutate(
    name = case_when(name %in% c("werk", "1") ~ "employment", name %in% c("partner", "2") ~ "partner",
                     name %in% c("verslaving", "3") ~ "addiction", name %in% c("motivatie", "4") ~ "motivation"),
    source = case_when(source %in% c("RISc", "1") ~ "risc", source %in% c("werker", "2") ~ "officer",
                       source %in% c("cli\u00ebnt", "3") ~ "self_report", TRUE ~ "administration"),
    value = na_if(as.numeric(value), 9), measured = day(measured))
risc <- read_partners("risc") |>
  mutate(measured = day(measured), across(c(drugs, alcohol, total), as.numeric), across(c(drugs, alcohol), \(x) na_if(x, 99)))

# Who is in the study: the first supervision of 2022 that was rated at T1 -----------------------------------------------
rated <- waves |> filter(wave == "t1", is_done) |> distinct(supervision)
index <- supervisions |>
  filter(start >= enrolled_from, start <= enrolled_until) |>
  semi_join(rated, by = "supervision") |>
  inner_join(clients, by = c("organisation", "client")) |>
  arrange(start, supervision) |>
  distinct(bsn, .keep_all = TRUE) |>
  mutate(landmark = start + days(9))

# Follow-up -----------------------------------------------------------------------------------------------------------
offences <- registry("cases") |>
  filter(as.Date(inschrijfdatum) <= cutoff) |>
  left_join(registry("offences"), by = "zaaknummer") |>
  left_join(registry("disposals"), by = "zaaknummer") |>
  filter(coalesce(afdoening, "OPEN") %in% c("VER", "STB", "OPEN")) |>
  mutate(committed = coalesce(as.Date(pleegdatum), as.Date(inschrijfdatum)),
         is_custodial = coalesce(as.numeric(onvoorwaardelijk_dagen), 0) > 0) |>
  inner_join(select(index, bsn, landmark), by = "bsn")
departures <- registry("departures") |> group_by(bsn) |> summarise(departed = min(as.Date(datum)))
followed <- index |>
  semi_join(filter(registry("linkage"), koppelstatus == "J"), by = "bsn") |>
  left_join(departures, by = "bsn") |>
  mutate(until = pmin(landmark + days(48), cutoff - days(6), departed, na.rm = TRUE)) |>
  filter(until > landmark)
first_offence <- offences |>
  filter(committed > landmark) |>
  group_by(bsn) |>
  summarise(offended = min(committed))
nights <- registry("detentions") |>
  semi_join(followed, by = "bsn") |>
  mutate(from = as.Date(begindatum), to = coalesce(as.Date(einddatum), cutoff)) |>
  filter(to > from) |>
  transmute(bsn, night = Map(seq, from, to - 1, by = 1)) |>
  unnest(night) |>
  distinct()
followed <- followed |>
  left_join(first_offence, by = "bsn") |>
  mutate(event = as.numeric(!is.na(offended) & offended <= until), exit = if_else(event == 1, offended, until))
detained <- nights |>
  inner_join(select(followed, bsn, landmark, exit), by = "bsn") |>
  filter(night >= landmark, night < exit) |>
  count(bsn, name = "detained")
history <- offences |>
  filter(committed <= landmark) |>
  group_by(bsn) |>
  summarise(prior_cases = n_distinct(zaaknummer), has_prior_custody = as.numeric(any(is_custodial)))

# Alliance: mean of valid items, known at the landmark ------------------------------------------------------------------
needed <- c(bond = 4, trust = 5, goals = 6, reactance = 4)
scores <- answers |>
  mutate(
    scale = case_when(grepl("^(binding|B|1)", item) ~ "bond", grepl("^(vertrouwen|T|2)", item) ~ "trust",
                      grepl("^(richting|G|3)", item) ~ "goals", grepl("^(stroefheid|R|4)", item) ~ "reactance"),
    number = as.numeric(substring(item, nchar(item) - 1)),
    response = if_else((scale == "bond" & number == 5) | (scale == "trust" & number == 3), 6 - response, response)) |>
  group_by(supervision, wave, rater, scale) |>
  summarise(valid = n(), score = mean(response), .groups = "drop") |>
  filter(valid >= needed[scale], wave %in% c("t1", "t2")) |>
  inner_join(filter(waves, is_done), by = c("supervision", "wave", "rater")) |>
  inner_join(select(index, supervision, landmark), by = "supervision") |>
  filter(measured <= landmark) |>
  mutate(name = paste(rater, scale, wave, sep = "_")) |>
  pivot_wider(id_cols = supervision, values_from = score, names_from = name)

# What is known of the client at the landmark --------------------------------------------------------------------------
people <- clients |> select(organisation, client, bsn) |> inner_join(select(index, bsn, landmark), by = "bsn")
known <- covariates |>
  inner_join(people, by = c("organisation", "client")) |>
  filter(!is.na(name), !is.na(value), measured <= landmark) |>
  arrange(measured, source)
latest <- known |>
  filter(name != "addiction") |>
  group_by(bsn, name) |>
  summarise(value = last(value), .groups = "drop") |>
  pivot_wider(names_from = name, values_from = value)
assessed <- risc |>
  inner_join(people, by = c("organisation", "client")) |>
  filter(measured <= landmark) |>
  arrange(measured) |>
  group_by(bsn) |>
  summarise(across(c(drugs, alcohol, total), \(x) last(na.omit(x))))
addiction <- bind_rows(
  known |> filter(name == "addiction") |> group_by(bsn, source) |> summarise(value = last(value), .groups = "drop"),
  assessed |> pivot_longer(c(drugs, alcohol)) |> filter(!is.na(value)) |> transmute(bsn, value = as.numeric(value >= 4))) |>
  group_by(bsn) |>
  summarise(addiction = max(value))
supervising <- assignments |>
  inner_join(select(index, supervision, landmark), by = "supervision") |>
  arrange(supervision, desc(from <= landmark & landmark <= until), desc(from <= landmark), abs(as.numeric(landmark - from))) |>
  group_by(supervision) |>
  summarise(officer_changed = as.numeric(n_distinct(officer[from <= landmark]) > 1), officer = first(officer))

cohort <- followed |>
  left_join(detained, by = "bsn") |>
  left_join(history, by = "bsn") |>
  left_join(scores, by = "supervision") |>
  left_join(latest, by = "bsn") |>
  left_join(addiction, by = "bsn") |>
  left_join(select(assessed, bsn, risc_total = total), by = "bsn") |>
  left_join(supervising, by = "supervision") |>
  left_join(distinct(officers, officer, orientation), by = "officer") |>
  mutate(
    days = as.numeric(exit - landmark) - coalesce(detained, 0),
    parents = case_when(mother != "nl" ~ mother, father != "nl" ~ father, mother == "nl" & father == "nl" ~ "nl"),
    origin = case_when(parents == "nl" ~ "nl", country != "nl" ~ country, TRUE ~ parents),
    is_non_western = as.numeric(origin == "non_western"),
    age_decades = as.numeric(landmark - born) / 3652.5,
    prior_cases = coalesce(prior_cases, 0), log_prior_cases = log1p(prior_cases),
    has_prior_custody = coalesce(has_prior_custody, 0), is_svg = as.numeric(organisation == "svg"),
    is_ljr = as.numeric(organisation == "ljr"), officer = coalesce(officer, paste("none", bsn))) |>
  filter(days > 0)
stopifnot(!anyDuplicated(cohort$bsn))

# Table 1 -------------------------------------------------------------------------------------------------------------
described <- c("age_decades", "is_male", "is_non_western", "prior_cases", "has_prior_custody", "employment", "partner",
               "addiction", "motivation", "risc_total", grep("^(client|officer)_.*_t[12]$", names(cohort), value = TRUE))
table1 <- cohort |>
  select(event, all_of(described)) |>
  pivot_longer(-event, names_to = "variable") |>
  group_by(variable) |>
  summarise(n = sum(!is.na(value)), missing = sum(is.na(value)), mean = mean(value, na.rm = TRUE),
            sd = sd(value, na.rm = TRUE), mean_without_event = mean(value[event == 0], na.rm = TRUE),
            mean_with_event = mean(value[event == 1], na.rm = TRUE))
write_csv(table1, file.path(out, "table1.csv"))

# Imputation ----------------------------------------------------------------------------------------------------------
cohort$hazard <- nelsonaalen(cohort, days, event)
score_names <- grep("^(client|officer)_.*_t[12]$", names(cohort), value = TRUE)
binary <- c("is_male", "is_non_western", "employment", "partner", "addiction", "officer_changed")
predictors <- c(score_names, binary, "age_decades", "log_prior_cases", "has_prior_custody", "motivation", "risc_total",
                "orientation", "is_svg", "is_ljr", "event", "hazard")
to_impute <- cohort |> select(all_of(predictors), days, officer) |> mutate(across(all_of(binary), factor))
matrix <- make.predictorMatrix(to_impute)
matrix[, c("days", "officer")] <- 0
methods <- make.method(to_impute)
methods[score_names] <- ifelse(methods[score_names] == "", "", "norm")
imputed <- mice(to_impute, m = imputations, maxit = iterations, method = methods, predictorMatrix = matrix,
                seed = 20260101, printFlag = FALSE)

# Cox models: errors clustered by officer, pooled by Rubin's rules ------------------------------------------------------
history_terms <- c("log_prior_cases", "has_prior_custody")
full_terms <- c(history_terms, "age_decades", "is_male", "is_non_western", "employment", "partner", "addiction", "motivation")
models <- list(unadjusted = NULL, criminal_history = history_terms, full = full_terms)
data_sets <- complete(imputed, "all")
pooled <- function(model) {
  formula <- reformulate(c("client_trust_t2", models[[model]]), response = "Surv(days, event)")
  fits <- lapply(data_sets, \(data) coxph(formula, data = data, cluster = officer, ties = "efron"))
  summary(pool(as.mira(fits)), conf.int = TRUE) |>
    transmute(model = model, term = as.character(term), n = nrow(cohort), events = sum(cohort$event),
              hazard_ratio = exp(estimate), conf_low = exp(`2.5 %`), conf_high = exp(`97.5 %`))
}
estimates <- bind_rows(lapply(names(models), pooled)) |>
  mutate(term = if_else(term == "client_trust_t2", "trust", sub("1$", "", term)))
write_csv(estimates, file.path(out, "estimates.csv"))
write_sav(select(cohort, organisation, all_of(predictors), days), file.path(out, "cohort.sav"))
